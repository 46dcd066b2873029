/** Label maps travel packed (gzip): they shrink to a hundredth. */

export function packed(bytes: Uint8Array<ArrayBuffer>): Promise<Blob> {
  return new Response(new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"))).blob();
}

/** The bytes of a file, unpacked where it is packed. */
export function unpacked(file: ArrayBuffer): Promise<ArrayBuffer> {
  const [first, second] = new Uint8Array(file, 0, Math.min(2, file.byteLength));
  if (first !== 0x1f || second !== 0x8b) return Promise.resolve(file);
  return new Response(new Blob([file]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}
