// Preloaded into public tool servers that listen on every interface: keeps them on loopback, on a free port, and has them
// say where. They choose their port by PORT, print nothing a program could read, and know no host option.

import { Server } from "node:net";

const listen = Server.prototype.listen;

Server.prototype.listen = function (_port, ...rest) {
  const ready = rest.find((argument) => typeof argument === "function");
  this.once("listening", () => {
    process.stdout.write(`${JSON.stringify({ url: `http://127.0.0.1:${this.address().port}` })}\n`);
  });
  return listen.call(this, { port: 0, host: "127.0.0.1" }, ready);
};
