// A way to the server that can be shut: what a browser sees when a server ends, and is back.

import { once } from "node:events";
import { connect, createServer } from "node:net";

export class Gate {
  static async before(address) {
    const gate = new Gate(new URL(address).port);
    await gate.open(0);
    return gate;
  }

  constructor(port) {
    this.behind = port;
    this.sockets = new Set();
    this.until = null; // nothing behind this comes through
  }

  get address() {
    return `http://127.0.0.1:${this.port}/`;
  }

  async open(port = this.port) {
    this.server = createServer((near) => {
      const far = connect(this.behind, "127.0.0.1");
      for (const [one, other] of [[near, far], [far, near]]) {
        this.sockets.add(one);
        one.on("error", () => other.destroy());
        one.on("close", () => other.destroy());
      }
      near.pipe(far);
      let seen = "";
      far.on("data", (bytes) => {
        const before = seen.length;
        seen += bytes.toString("latin1");
        const found = this.until?.exec(seen);
        const end = found ? found.index + found[0].length - before : bytes.length;
        if (end > 0) near.write(bytes.subarray(0, end));
      });
    });
    this.server.listen(port, "127.0.0.1");
    await once(this.server, "listening");
    this.port = this.server.address().port;
  }

  async shut() {
    const closed = once(this.server, "close");
    this.server.close();
    for (const socket of this.sockets) socket.resetAndDestroy();
    this.sockets.clear();
    await closed;
  }
}
