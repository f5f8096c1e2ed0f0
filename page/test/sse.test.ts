import assert from "node:assert/strict";
import { test } from "node:test";

import { EventParser } from "../src/core/sse.ts";

const STREAM = ": ping\n\ndata: {\"a\":1}\n\nevent: error\r\ndata: one\r\ndata:two\r\n\r\ndata: three\r\rdata\n\nid: 7\n\ndata: cut";

test("cut anywhere, the events are the same", () => {
  for (let step = 1; step < 9; step++) {
    const parser = new EventParser();
    const found = [];
    for (let i = 0; i < STREAM.length; i += step) found.push(...parser.push(STREAM.slice(i, i + step)));
    assert.deepEqual(found, [
      { event: "message", data: '{"a":1}' },
      { event: "error", data: "one\ntwo" },
      { event: "message", data: "three" },
      { event: "message", data: "" },
    ], `in steps of ${step}`);
  }
});
