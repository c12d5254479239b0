// A job's body as text, JSON or hex: always text to read, never markup, never run, never made into objects that act.

const UNSEEN = /(?![\n\t])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

// What isn't seen, or turns the direction of what follows, as ␛ or ⟦U+202E⟧, so that no body looks other than it is.
export function visible(text) {
  return text.replaceAll("\r\n", "\n").replace(UNSEEN, (one) => {
    const code = one.codePointAt(0);
    return code < 0x20 ? String.fromCodePoint(0x2400 + code) : `⟦U+${code.toString(16).toUpperCase().padStart(4, "0")}⟧`;
  });
}

// {form: text}, the fitting one first; the others where the server gave the bytes
export function forms(job) {
  const told = { [job.form]: job.form === "hex" ? job.body : visible(job.body) };
  if (!job.raw) return told;
  const bytes = Uint8Array.from(job.raw.match(/../g) ?? [], (pair) => parseInt(pair, 16));
  told.text ??= visible(new TextDecoder().decode(bytes));
  told.hex = dump(bytes);
  return told;
}

// 00000010  61 62 … |ab…|
function dump(bytes) {
  const lines = [];
  for (let start = 0; start < bytes.length; start += 8) {
    const row = bytes.subarray(start, start + 8);
    const pairs = Array.from(row, (byte) => byte.toString(16).padStart(2, "0")).join(" ").padEnd(23);
    const letters = Array.from(row, (byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${start.toString(16).padStart(6, "0")}  ${pairs}  ${letters}`);
  }
  return lines.join("\n");
}
