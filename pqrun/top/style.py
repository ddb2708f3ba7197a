# SPDX-License-Identifier: LGPL-3.0-or-later
"""Places, sizes and colours of what is on the screen."""

CSS = """
Screen { background: #15181c; color: #d7dae0; }
Lines { height: 1; }
#title { background: #22303a; }
#banner { background: #2a2620; display: none; }
#board { height: 5; }
#head { height: 2; background: #1f252b; }
#jobs { height: 1fr; min-height: 3; overflow-x: hidden; scrollbar-size-vertical: 1; }
#jobs > .jobs--odd { background: #1a1e23; }
#jobs > .jobs--cursor { background: #2b4a63; color: #ffffff; text-style: bold; }
#jobs:focus > .jobs--cursor { background: #0b69b7; color: #ffffff; text-style: bold; }
#bottom { height: 42%; min-height: 6; }
#facts { height: 3; background: #1a1e23; }
#log { height: 1fr; border: round #3b5568; border-title-color: #8fb8d8; scrollbar-size: 1 1; }
#log:focus { border: round #2f97e8; border-title-color: #d7ecff; }
#log > .log--found { background: #e0b000; color: #000000; }
#log > .log--here { background: #304050; }
#ask { display: none; height: 3; border: round #e0b000; background: #15181c; }
#keys { background: #22303a; }
.low #facts { height: 2; }
.low #board { height: 2; }
.low.full #board { height: 5; }
.flat #board, .flat #facts, .bare #board { display: none; }
.flat.full #board { display: block; height: 5; }
.flat #bottom { height: 35%; min-height: 4; }
.reading #board, .reading #head, .reading #jobs { display: none; }
.reading #facts { display: block; height: 3; }
.reading #bottom { height: 1fr; }
Question, Sheet { align: center middle; background: #000000 55%; }
.dialog { width: auto; max-width: 90%; height: auto; max-height: 90%; padding: 1 2;
          border: round #2f97e8; background: #1f252b; }
.dialog Static { width: auto; }
.dialog .keys { color: #e0b000; }
.wide { width: 96; max-width: 98%; }
.wide Static { width: 100%; }
Toast { background: #22303a; }
"""
