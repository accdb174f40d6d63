// Turns the memory of a module into globals, which become variables in JavaScript: smaller and
// faster than typed arrays. Works where every address is known, which is so when nothing lies on
// the stack; throws where one is not.

const ACCESS = /^([if])(32|64)\.(load|store)(8|16|32)?(_[su])?$/;

/** The text of `wat`, with a global for each place in its memory. */
export function withGlobals(wat) {
  const module = parse(wat);
  const places = placesOf(module);
  const kept = module.filter(([kind, , what]) =>
    kind !== "memory" && !(kind === "export" && (what[0] === "memory" || what[0] === "global")));
  const globals = [...places].map(([at, { type }]) => ["global", name(at), ["mut", type], [`${type}.const`, "0"]]);
  const [head, ...rest] = kept.map((node) => replaced(node, places));
  return written([head, ...globals, ...rest]);
}

function parse(text) {
  const open = [[]];
  for (const [word] of text.matchAll(/[()]|"[^"]*"|[^\s()]+/g)) {
    if (word === "(") open.push([]);
    else if (word !== ")") open.at(-1).push(word);
    else open.at(-2).push(open.pop());
  }
  return open[0][0];
}

function written(node) {
  return typeof node === "string" ? node : `(${node.map(written).join(" ")})`;
}

/** What a load or store does; nothing for other nodes. */
function access(node) {
  const match = ACCESS.exec(node[0]);
  if (!match) return undefined;
  const [, letter, bits, verb, narrow, sign] = match;
  const [address, value] = node.slice(1).filter((part) => typeof part !== "string");
  if (address[0] !== "i32.const") throw new Error(`an address is computed: ${written(node)}`);
  const offset = node.find((part) => typeof part === "string" && part.startsWith("offset="));
  const at = Number(address[1]) + Number(offset?.slice(7) ?? 0);
  return { at, size: (narrow ?? bits) / 8, type: letter + bits, verb, signed: sign === "_s", value };
}

/** Every place that is read, or written with what is not a constant. */
function placesOf(module) {
  const places = new Map();
  const find = (node) => {
    if (typeof node === "string") return;
    node.forEach(find);
    const found = access(node);
    if (!found || found.value?.[0].endsWith(".const")) return;
    const { at, size, type } = found;
    const known = places.get(at) ?? { size, type };
    if (known.size !== size || known.type !== type || type === "i64") throw new Error(`a place of two kinds: ${written(node)}`);
    places.set(at, known);
  };
  find(module);
  const sorted = [...places].sort(([a], [b]) => a - b);
  sorted.forEach(([at, { size }], index) => {
    if (at + size > sorted[index + 1]?.[0]) throw new Error(`places overlap at ${at}`);
  });
  return new Map(sorted);
}

function replaced(node, places) {
  if (typeof node === "string") return node;
  const found = access(node);
  if (!found) return node.map((part) => replaced(part, places));
  const { at, size, verb, signed, value } = found;
  if (verb === "load") {
    const get = ["global.get", name(at)];
    if (!signed) return get;
    const shift = ["i32.const", String(32 - size * 8)];
    return ["i32.shr_s", ["i32.shl", get, shift], shift];
  }
  if (!value[0].endsWith(".const")) {
    const whole = replaced(value, places);
    const cut = size < 4 ? ["i32.and", whole, ["i32.const", String(2 ** (size * 8) - 1)]] : whole;
    return ["global.set", name(at), cut];
  }
  // A constant may cover several places, or some that nobody reads.
  const bytes = bytesOf(value);
  const covered = [...places].filter(([place, known]) => place < at + size && place + known.size > at);
  return ["block", ...covered.map(([place, known]) => {
    if (place < at || place + known.size > at + size) throw new Error(`a part of a place is written: ${written(node)}`);
    return ["global.set", name(place), constant(bytes, place - at, known)];
  })];
}

function bytesOf([kind, text]) {
  const bytes = new DataView(new ArrayBuffer(8));
  if (kind === "f64.const") bytes.setFloat64(0, Number(text.replace("inf", "Infinity")), true);
  else bytes.setBigInt64(0, BigInt(text), true);
  return bytes;
}

function constant(bytes, from, { size, type }) {
  if (type === "f64") return ["f64.const", String(bytes.getFloat64(from, true)).replace("Infinity", "inf")];
  return ["i32.const", String(size === 1 ? bytes.getUint8(from) : size === 2 ? bytes.getUint16(from, true) : bytes.getInt32(from, true))];
}

function name(at) {
  return `$at${at}`;
}
