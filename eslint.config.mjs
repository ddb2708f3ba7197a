// SPDX-License-Identifier: LGPL-3.0-or-later
// The rules for the modules of the page. Names that do not exist are found by tsc.
import { createRequire } from "node:module";

const rules = createRequire(`${process.env.NODE_PATH?.split(":")[0] ?? import.meta.dirname}/`)("@eslint/js").configs
  .recommended.rules;

export default [
  {
    files: ["pqrun/reports/page/*.js"],
    languageOptions: { ecmaVersion: 2023, sourceType: "module" },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      ...rules,
      "no-undef": "off",
      "no-unused-vars": ["error", { caughtErrors: "none" }],
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-var": "error",
      "prefer-const": ["error", { destructuring: "all" }],
      "prefer-template": "error",
      eqeqeq: "error",
      "no-restricted-properties": [
        "error",
        ...["innerHTML", "outerHTML", "insertAdjacentHTML", "write", "writeln"].map((property) => ({
          property,
          message: "text of a job is never markup: use h() and s() of dom.js",
        })),
      ],
      "max-len": ["error", { code: 120, ignoreStrings: true, ignoreTemplateLiterals: true }],
    },
  },
];
