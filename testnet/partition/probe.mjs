// What a link really does, measured between two namespaces:
//   node probe.mjs serve ADDRESS PORT                echoes UDP, takes what comes over TCP
//   node probe.mjs echo ADDRESS PORT COUNT           {rtt_ms: {p50, p95}, lost: share of COUNT datagrams}
//   node probe.mjs bulk ADDRESS PORT BYTES           {mbit_per_second}
import dgram from "node:dgram";
import net from "node:net";

const [what, address, portText, amountText] = process.argv.slice(2);
const port = Number(portText), amount = Number(amountText);

if (what === "serve") {
  const echo = dgram.createSocket("udp4");
  echo.on("message", (data, from) => echo.send(data, from.port, from.address));
  echo.bind(port, address);
  // One byte back at the end: everything has arrived.
  net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => {});
    socket.on("data", () => {});
    socket.on("end", () => socket.end("."));
  }).listen(port, address, () => console.log("ready"));
} else if (what === "echo") {
  const socket = dgram.createSocket("udp4");
  const times = [];
  socket.on("message", (data) => times.push(performance.now() - data.readDoubleLE(0)));
  for (let n = 0; n < amount; n++) {
    const data = Buffer.alloc(200);
    data.writeDoubleLE(performance.now());
    socket.send(data, port, address);
    await new Promise((ok) => setTimeout(ok, 10));
  }
  await new Promise((ok) => setTimeout(ok, 1500));
  times.sort((a, b) => a - b);
  const at = (share) => Math.round(times[Math.floor((times.length - 1) * share)] ?? -1);
  console.log(JSON.stringify({ rtt_ms: { p50: at(0.5), p95: at(0.95) }, lost: Number((1 - times.length / amount).toFixed(4)) }));
  process.exit(0);
} else if (what === "bulk") {
  const began = performance.now();
  const socket = net.connect({ host: address, port, allowHalfOpen: true });
  socket.end(Buffer.alloc(amount, 7));
  socket.resume();
  socket.on("close", () => {
    const seconds = (performance.now() - began) / 1000;
    console.log(JSON.stringify({ mbit_per_second: Number(((amount * 8) / 1e6 / seconds).toFixed(1)) }));
  });
}
