/* The start of the page of a recorded run in a file: reads the data, and fills the page. */

import { say } from "./dom.js";
import { setUpTheme } from "./page_frame.js";
import { readData } from "./run_data.js";
import { RunPage } from "./run_page.js";

function start() {
  setUpTheme();
  const page = new RunPage(readData());
  const seq = /^#job-(\d+)$/.exec(location.hash);
  if (seq) page.pane.open(page.data.jobOf(Number(seq[1])));
  document.documentElement.dataset.ready = "true";
  say(`${document.title}, ${page.data.count} jobs`);
}

start();
