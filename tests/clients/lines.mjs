// Drivers on Node: one request a line on standard input, one answer a line on standard output.

import { createInterface } from "node:readline";

const write = process.stdout.write.bind(process.stdout);

/** Answers each line by the function that its `op` names, one after the other; `refused` makes an error of what is thrown. */
export async function serve(operations, refused) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { op, ...what } = JSON.parse(line);
    let answer;
    try {
      answer = { result: (await operations[op](what)) ?? {} };
    } catch (error) {
      answer = { error: refused(error) };
    }
    await new Promise((done) => write(`${JSON.stringify(answer)}\n`, done));
    if (op === "close") process.exit(0);
  }
}
