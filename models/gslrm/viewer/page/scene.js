// What was written into the page: its description, and the bytes that pack.h describes.
function bytes_of(id) {
  const element = document.getElementById(id), text = element.textContent;
  element.remove();   // the text is a third larger than the bytes, and no longer needed
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  const out = new Uint8Array(text.length / 4 * 3 - padding), digit = new Uint8Array(128);
  [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'].forEach((c, i) => digit[c.charCodeAt(0)] = i);
  for (let i = 0, to = 0; i < text.length; i += 4) {
    const group = digit[text.charCodeAt(i)] << 18 | digit[text.charCodeAt(i + 1)] << 12 | digit[text.charCodeAt(i + 2)] << 6 |
                  digit[text.charCodeAt(i + 3)];
    out[to++] = group >> 16, out[to++] = group >> 8, out[to++] = group;   // what is beyond the end is dropped
  }
  return out;
}

function read_scene() {
  const scene = JSON.parse(document.getElementById('scene').textContent);
  scene.core = new Uint32Array(bytes_of('core').buffer);
  scene.colours = new Uint32Array(bytes_of('colour').buffer);
  scene.rest = new Int32Array(bytes_of('rest').buffer);
  const { low, step } = scene.position;
  scene.xyz = new Float32Array(3 * scene.count);
  for (let i = 0; i < scene.count; ++i) {
    const a = scene.core[4 * i], b = scene.core[4 * i + 1];
    scene.xyz[3 * i] = low[0] + step[0] * (a & 0x1fffff);
    scene.xyz[3 * i + 1] = low[1] + step[1] * (a >>> 21 | (b & 1023) << 11);
    scene.xyz[3 * i + 2] = low[2] + step[2] * (b >>> 10 & 0x1fffff);
  }
  Object.assign(scene, middle_of(scene));
  return scene;
}

// The opaque part's centre and radius (root mean square distance), without what lies far off.
function middle_of({ count, xyz, colours }) {
  let centre = [0, 0, 0], radius = Infinity;
  const stride = Math.max(1, Math.floor(count / 200000));
  for (let round = 0; round < 4; ++round) {
    let sum = [0, 0, 0], square = 0, weight = 0;
    for (let i = 0; i < count; i += stride) {
      const p = [xyz[3 * i], xyz[3 * i + 1], xyz[3 * i + 2]], d = norm(add(p, centre, -1)), root = colours[i] >>> 24;
      if (d > 2.5 * radius) continue;
      sum = add(sum, p, root * root), square += d * d * root * root, weight += root * root;
    }
    if (weight === 0) break;
    centre = times(sum, 1 / weight);
    radius = Math.sqrt(square / weight);
  }
  return { centre, radius: Number.isFinite(radius) && radius > 1e-6 ? radius : 1 };
}
