// Vectors are arrays of three numbers, rotations arrays of nine (row-major), quaternions arrays of four (w x y z).
const add = (a, b, s = 1) => [a[0] + s * b[0], a[1] + s * b[1], a[2] + s * b[2]];
const times = (a, s) => [a[0] * s, a[1] * s, a[2] * s];
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const norm = a => Math.sqrt(dot(a, a));
const unit = a => times(a, 1 / (norm(a) || 1));
const mix = (a, b, s) => a.map((x, i) => x + s * (b[i] - x));
const column = (m, j) => [m[j], m[3 + j], m[6 + j]];
const rotated = (m, v) => [0, 3, 6].map(r => m[r] * v[0] + m[r + 1] * v[1] + m[r + 2] * v[2]);
const unrotated = (m, v) => [0, 1, 2].map(c => m[c] * v[0] + m[3 + c] * v[1] + m[6 + c] * v[2]);
const from_columns = (x, y, z) => [x[0], y[0], z[0], x[1], y[1], z[1], x[2], y[2], z[2]];

// v turned by `angle` about the unit vector `axis`.
function turned(v, axis, angle) {
  const c = Math.cos(angle), s = Math.sin(angle);
  return add(add(times(v, c), cross(axis, v), s), axis, (1 - c) * dot(axis, v));
}
const turn_columns = (m, axis, angle) => from_columns(...[0, 1, 2].map(j => turned(column(m, j), axis, angle)));

function quaternion(m) {
  const [a, b, c] = [m[0], m[4], m[8]];
  const q = a + b + c > 0 ? [1 + a + b + c, m[7] - m[5], m[2] - m[6], m[3] - m[1]]
          : a > b && a > c ? [m[7] - m[5], 1 + a - b - c, m[1] + m[3], m[2] + m[6]]
          : b > c ? [m[2] - m[6], m[1] + m[3], 1 + b - a - c, m[5] + m[7]]
                  : [m[3] - m[1], m[2] + m[6], m[5] + m[7], 1 + c - a - b];
  const n = Math.hypot(...q);
  return q.map(x => x / n);
}
function rotation([w, x, y, z]) {
  return [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
          2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
          2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)];
}
function between(a, b, s) {   // rotations; the short way
  const p = quaternion(a);
  let q = quaternion(b);
  if (p.reduce((sum, x, i) => sum + x * q[i], 0) < 0) q = q.map(x => -x);
  const r = mix(p, q, s), n = Math.hypot(...r);
  return rotation(r.map(x => x / n));
}
