// Gaussians by depth, farthest first; equal depths by falling index, which blends as the renderer's order does (nearest first,
// then index). Radix sort of 22 bits in two passes. Runs in a worker; its text is all that the worker has.
function make_sorter(xyz) {
  const count = xyz.length / 3, kBits = 11, kDigits = 1 << kBits, kKeys = (1 << 2 * kBits) - 1;
  const depth = new Float32Array(count), keys = new Uint32Array(count);
  const half = new Uint32Array(count), upper = new Uint16Array(count);   // after the first pass: indices, and the second pass' digits
  const low = new Uint32Array(kDigits), high = new Uint32Array(kDigits);
  // row: of world to camera, what gives the depth: [x, y, z, translation]; only every stride-th Gaussian takes part. Fills
  // `order`, returns how many are in front.
  return ({ row: [a, b, c, t], stride }, order) => {
    let nearest = Infinity, farthest = -Infinity, seen = 0;
    for (let i = 0; i < count; i += stride) {
      const z = depth[i] = a * xyz[3 * i] + b * xyz[3 * i + 1] + c * xyz[3 * i + 2] + t;
      if (z > 0.2) {
        if (z < nearest) nearest = z;
        if (z > farthest) farthest = z;
        ++seen;
      }
    }
    if (seen === 0) return 0;
    const scale = farthest > nearest ? kKeys / (farthest - nearest) : 0;
    low.fill(0), high.fill(0);
    for (let i = 0; i < count; i += stride) {
      if (!(depth[i] > 0.2)) continue;
      const key = keys[i] = (farthest - depth[i]) * scale;
      ++low[key & kDigits - 1], ++high[key >>> kBits];
    }
    for (const digits of [low, high])
      for (let d = 0, sum = 0; d < kDigits; ++d) {
        const n = digits[d];
        digits[d] = sum, sum += n;
      }
    for (let i = count - 1 - (count - 1) % stride; i >= 0; i -= stride) {
      if (!(depth[i] > 0.2)) continue;
      const place = low[keys[i] & kDigits - 1]++;
      half[place] = i, upper[place] = keys[i] >>> kBits;
    }
    for (let k = 0; k < seen; ++k) order[high[upper[k]]++] = half[k];
    return seen;
  };
}

function sort_in_worker() {
  let sorter;
  onmessage = ({ data }) => {
    if (data.xyz) { sorter = make_sorter(data.xyz); return; }
    const begin = performance.now(), order = new Uint32Array(data.buffer), seen = sorter(data.wish, order);
    postMessage({ buffer: data.buffer, seen, stride: data.wish.stride, milliseconds: performance.now() - begin }, [data.buffer]);
  };
}

// The latest wish, { row, stride }, is sorted next; `done(order, seen, stride)` gets every result. One array goes to and fro.
class Sorter {
  constructor(xyz, done) {
    this.done = done, this.milliseconds = 0, this.wanted = null, this.asked = null;
    this.place = 'worker';
    this.buffer = new ArrayBuffer(4 * xyz.length / 3);
    try {
      const source = new Blob([make_sorter, ';(', sort_in_worker, ')()'], { type: 'text/javascript' });
      this.worker = new Worker(URL.createObjectURL(source));
      this.worker.onmessage = ({ data }) => this.arrived(data);
      this.worker.onerror = () => this.without_worker(xyz);
      this.worker.postMessage({ xyz });
    } catch (refused) {
      this.without_worker(xyz);
    }
  }
  // A page's security policy can forbid workers: then the page's own thread sorts, and the statistics say so.
  without_worker(xyz) {
    this.worker = null, this.place = 'main thread', this.wanted ??= this.asked;
    const sort = make_sorter(xyz);
    this.buffer = new ArrayBuffer(4 * xyz.length / 3);
    this.at_once = wish => {
      const begin = performance.now(), seen = sort(wish, new Uint32Array(this.buffer));
      this.arrived({ buffer: this.buffer, seen, stride: wish.stride, milliseconds: performance.now() - begin });
    };
    if (this.wanted) this.next();
  }
  ask(wish) {
    this.wanted = wish;
    if (this.buffer) this.next();
  }
  get busy() { return !this.buffer || this.wanted !== null; }
  next() {
    const wish = this.wanted, buffer = this.buffer;
    this.wanted = null;
    if (!this.worker) { setTimeout(() => this.at_once(wish)); return; }
    this.asked = wish, this.buffer = null;
    this.worker.postMessage({ wish, buffer }, [buffer]);
  }
  arrived({ buffer, seen, stride, milliseconds }) {
    this.buffer = buffer, this.milliseconds = milliseconds;
    this.done(new Uint32Array(buffer), seen, stride);
    if (this.wanted) this.next();
  }
}
