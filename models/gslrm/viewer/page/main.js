// The page: what is shown when, and what a person can change.
const element = id => document.getElementById(id);
const words = new URLSearchParams(location.hash.slice(1));   // README.md: which there are
const hex = c => '#' + c.map(x => Math.round(255 * Math.min(1, Math.max(0, x))).toString(16).padStart(2, '0')).join('');
const colour = text => [1, 3, 5].map(i => parseInt(text.slice(i, i + 2), 16) / 255);
const kBackgrounds = ['#ffffff', '#b2b2b2', '#22262c', '#000000'];

function show_message(text) {
  const p = element('message');
  p.textContent = text, p.hidden = false;
}

class Page {
  constructor(scene) {
    this.scene = scene;
    this.picture = element('picture');
    this.painter = new Painter(this.picture, scene);
    this.view = new View(scene);
    this.frusta = new Frusta(element('overlay'), scene);
    this.look = { background: scene.background, opacity: 1, size: 1 };
    this.sorter = new Sorter(scene.xyz, (order, seen, stride) => {
      this.painter.order(order, seen, stride);
      if (this.on_order) { this.on_order(); return; }   // somebody waits for it who draws
      this.stale = true, this.wake();
    });
    this.level = 0, this.slow = [], this.moved_at = -Infinity;
    this.picture.addEventListener('webglcontextlost', () =>
      show_message('The browser took the graphics away, perhaps for want of memory. Reload the page to see the scene again.'));
  }

  // ---- drawing: only when something has changed ----
  wake() {
    if (!this.waiting) this.waiting = requestAnimationFrame(now => this.frame(now));
  }
  changed() {   // the view
    this.moved_at = performance.now();
    this.sort();
    this.stale = true;
    this.wake();
  }
  // Where drawing is slow, what moves is drawn with fewer pixels and fewer, larger Gaussians; at rest all of them appear.
  static kLevels = [{ scale: 1, stride: 1 }, { scale: 0.75, stride: 2 }, { scale: 0.5, stride: 4 }, { scale: 0.4, stride: 8 }];
  get detail() { return Page.kLevels[performance.now() - this.moved_at < 250 ? this.level : 0]; }
  sort() {
    const { rotation, translation } = this.view.inverse;
    this.wished = this.detail.stride;
    this.sorter.ask({ row: [...rotation.slice(6), translation[2]], stride: this.wished });
  }
  // `since`: milliseconds between two frames of one movement.
  adapt(since) {
    this.slow.push(since);
    const mean = this.slow.reduce((a, b) => a + b) / this.slow.length;
    this.interval = mean;
    if (this.slow.length >= 3 && mean > 70 && this.level < 3) this.level = Math.min(3, this.level + (mean > 160 ? 2 : 1)), this.slow = [];
    else if (this.slow.length >= 40 && mean < 18 && this.level > 0) --this.level, this.slow = [];
    else if (this.slow.length >= 40) this.slow.shift();
  }
  frame(now) {
    this.waiting = 0;
    const since = now - (this.last_frame ?? now), moving = now - this.moved_at < 250;
    this.last_frame = now;
    this.advance(now, Math.min(since, 100));
    if (moving && this.was_moving) this.adapt(since);
    this.was_moving = moving;
    const { scale, stride } = this.detail, ratio = devicePixelRatio * scale;
    if (stride !== this.wished) this.sort();
    // An order with another share of the Gaussians is on its way: the picture waits for it.
    if ((this.stale || scale !== this.drawn_scale) && this.painter.stride === stride) {
      this.painter.draw(this.view, Math.max(1, Math.round(innerWidth * ratio)), Math.max(1, Math.round(innerHeight * ratio)), this.look);
      if (element('frusta').checked) this.frusta.draw(this.view, devicePixelRatio);
      else this.frusta.clear();
      this.stale = false, this.drawn_scale = scale;
      if (this.painter.seen > 0 || this.scene.count === 0) document.body.dataset.state ??= 'shown';
    }
    if (moving || this.flight || this.turning) this.wake();
    if (!this.waiting || now - (this.told_at ?? -Infinity) > 300) this.told_at = now, this.tell();
  }
  advance(now, milliseconds) {   // movements of their own
    if (this.flight) {
      const s = Math.min(1, (now - this.flight.begin) / 450), eased = s * s * (3 - 2 * s);
      this.view = s < 1 ? View.between(this.flight.from, this.flight.to, eased) : this.flight.to;
      if (s === 1) this.flight = null;
      this.changed(), this.mark_camera();
    } else if (this.turning) {
      this.view.orbit(0.0004 * milliseconds, 0);
      this.changed(), this.mark_camera();
    }
  }
  fly(to) {
    const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
    this.flight = { from: this.view, to, begin: still ? -Infinity : performance.now() };
    this.wake();
  }

  // ---- actions ----
  act(name, shift = false) {
    const step = shift ? 40 : 0.06, { view } = this, height = this.picture.clientHeight;
    const move = (orbit, pan) => {
      this.flight = null;
      if (shift) view.pan(...pan.map(x => x * step), height);
      else view.orbit(...orbit.map(x => x * step));
      this.changed(), this.mark_camera();
      return true;
    };
    const approach = factor => {
      this.flight = null, view.approach(factor), this.changed(), this.mark_camera();
      return true;
    };
    const actions = {
      left: () => move([-1, 0], [1, 0]), right: () => move([1, 0], [-1, 0]), up: () => move([0, -1], [0, 1]), down: () => move([0, 1], [0, -1]),
      nearer: () => approach(0.9), farther: () => approach(1 / 0.9),
      reset: () => this.set_turning(false) || this.fly(new View(this.scene)),
      level: () => { const to = view.copy(); to.level(), this.fly(to); },
      turn: () => this.set_turning(!this.turning),
      frusta: () => { element('frusta').checked = !element('frusta').checked, this.stale = true, this.wake(); },
      background: () => this.set_background(kBackgrounds[(kBackgrounds.indexOf(hex(this.look.background)) + 1) % kBackgrounds.length]),
      screenshot: () => this.screenshot(),
      panel: () => { element('panel').hidden = !element('panel').hidden; },
      help: () => { element('help').open ? element('help').close() : element('help').showModal(); },
    };
    if (name.startsWith('camera ')) return this.look_from(Number(name.slice(7)) - 1);
    if (!actions[name]) return false;
    actions[name]();
    return true;
  }
  look_from(index) {
    if (index >= this.scene.cameras.length) return false;
    const to = this.view.copy();
    to.stand_at(index);
    this.set_turning(false);
    this.fly(to);
    return true;
  }
  set_turning(on) {
    this.turning = on;
    document.querySelector('[data-do=turn]').setAttribute('aria-pressed', on);
    this.wake();
  }
  set_background(text) {
    this.look.background = colour(text), element('background').value = text;
    document.body.style.background = text;
    this.stale = true, this.wake();
  }
  async screenshot() {
    this.set_turning(false), this.moved_at = -Infinity;
    await this.sorted();   // all Gaussians
    this.painter.draw(this.view, Math.round(innerWidth * devicePixelRatio), Math.round(innerHeight * devicePixelRatio), this.look);
    this.picture.toBlob(blob => {
      const link = document.createElement('a');
      link.href = URL.createObjectURL(blob);
      link.download = (this.scene.title.replace(/[^\w.-]+/g, '_') || 'scene') + '.png';
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    });
  }

  // ---- the panel ----
  furnish() {
    const { scene } = this, count = scene.count.toLocaleString('en');
    document.title = scene.title;
    element('title').textContent = scene.title;
    element('subtitle').textContent = `${count} Gaussians` + (scene.degree ? `, harmonics of degree ${scene.degree}` : '');
    scene.cameras.forEach((camera, i) => {
      const b = document.createElement('button');
      b.textContent = camera.name, b.title = `Look from ${camera.name}` + (i < 9 ? ` (${i + 1})` : '');
      b.addEventListener('click', () => this.look_from(i));
      element('cameras').append(b);
    });
    for (const text of kBackgrounds) {
      const b = document.createElement('button');
      b.style.background = text, b.title = b.ariaLabel = 'Background ' + text;
      b.addEventListener('click', () => this.set_background(text));
      element('swatches').append(b);
    }
    for (const b of document.querySelectorAll('[data-do]')) b.addEventListener('click', () => this.act(b.dataset.do));
    element('open').addEventListener('click', () => this.act('panel'));
    if (innerWidth <= 640) element('panel').hidden = true;
    for (const name of ['opacity', 'size'])
      element(name).addEventListener('input', () => this.set_factor(name, 2 ** element(name).value));
    this.set_factor('opacity', 1), this.set_factor('size', 1);
    element('background').addEventListener('input', e => this.set_background(e.target.value));
    element('frusta').addEventListener('change', () => { this.stale = true, this.wake(); });
    this.set_background(hex(this.look.background));
    connect_pointers(this.picture, () => (this.flight = null, this.view), () => { this.set_turning(false), this.changed(), this.mark_camera(); },
                     (x, y) => { const i = this.camera_at(x, y); if (i >= 0) this.look_from(i); },
                     (x, y) => this.hover(this.camera_at(x, y)));
    connect_keys((name, shift) => this.act(name, shift));
    addEventListener('resize', () => { this.stale = true, this.wake(); });
    this.tell();
  }
  set_factor(name, value) {
    this.look[name] = value;
    element(name + '-value').textContent = '\u00d7 ' + value.toFixed(2);
    this.stale = true, this.wake();
  }
  camera_at(x, y) { return element('frusta').checked ? this.frusta.at(x, y) : -1; }
  hover(index) {
    if (index === this.frusta.hovered) return;
    this.frusta.hovered = index;
    this.picture.classList.toggle('camera', index >= 0);
    this.stale = true, this.wake();
  }
  mark_camera() {
    [...element('cameras').children].forEach((b, i) => b.setAttribute('aria-pressed', i === this.view.camera));
  }
  tell() {
    const { scene, painter, sorter } = this, { width, height } = this.picture;
    const moving = performance.now() - this.moved_at < 400 && this.interval;
    const bytes = 20 + 16 * scene.degree;
    const rows = {
      'drawn': `${painter.seen.toLocaleString('en')} of ${scene.count.toLocaleString('en')}`,
      'memory': `${(scene.count * (bytes + 4) / 2 ** 20).toFixed(1)} MiB, ${bytes} B each`,
      'picture': `${width} \u00d7 ${height}`,
      'frames': moving ? `${(1000 / this.interval).toFixed(0)} a second` : 'at rest',
      'sorted in': `${sorter.milliseconds.toFixed(0)} ms, ${sorter.place}`,
      'graphics': painter.device,
    };
    element('statistics').replaceChildren(...Object.entries(rows).flatMap(([name, value]) => {
      const dt = document.createElement('dt'), dd = document.createElement('dd');
      dt.textContent = name, dd.textContent = value;
      return [dt, dd];
    }));
  }

  // ---- without a person: the words after # ----
  sorted() {   // resolves when the present view's order is in place
    return new Promise(done => {
      this.on_order = () => { if (!this.sorter.busy) this.on_order = null, done(); };
      this.sort();
    });
  }
  report(kind, facts, text) {
    const pre = document.createElement('pre');
    pre.className = kind, pre.hidden = true, pre.textContent = text;
    Object.assign(pre.dataset, facts);
    document.body.append(pre);
  }
  // Each camera's picture as RGBA bytes in base64.
  async stills(cameras, size) {
    for (const camera of cameras) {
      this.view.stand_at(camera - 1);
      await this.sorted();
      const [width, height] = size ?? [this.view.lens.width, this.view.lens.height];
      this.painter.draw(this.view, width, height, this.look);
      let text = '';
      const bytes = this.painter.pixels();
      for (let i = 0; i < bytes.length; i += 8190) text += btoa(String.fromCharCode(...bytes.subarray(i, i + 8190)));
      this.report('still', { camera, width, height }, text);
    }
  }
  // Frames of a walk round the scene, each sorted and waited for.
  async frames(count, [width, height], level) {
    this.level = level;
    const { scale } = Page.kLevels[level], draws = [], sorts = [];
    for (let i = 0; i < count; ++i) {
      this.view.orbit(2 * Math.PI / count, 0);
      this.moved_at = performance.now();
      await this.sorted();
      sorts.push(this.sorter.milliseconds);
      this.painter.wait();   // the order is there
      const begin = performance.now();
      this.painter.draw(this.view, width * scale, height * scale, this.look);
      this.painter.wait();
      draws.push(performance.now() - begin);
    }
    const median = x => x.sort((a, b) => a - b)[x.length >> 1];
    this.report('frames', { count, width, height, gaussians: this.scene.count }, JSON.stringify({ draw_ms: median(draws), sort_ms: median(sorts), graphics: this.painter.device }));
  }
}

async function main() {
  const page = new Page(read_scene()), size = words.get('size')?.split('x').map(Number);
  globalThis.viewer = page;   // for whoever drives the page from outside
  if (words.has('background')) page.look.background = colour('#' + words.get('background'));
  if (words.has('opacity')) page.look.opacity = Number(words.get('opacity'));
  if (words.has('scale')) page.look.size = Number(words.get('scale'));
  if (words.has('still') || words.has('frames')) {
    document.body.className = 'bare';
    if (words.has('still')) await page.stills(words.get('still').split(',').map(Number), size);
    if (words.has('frames')) await page.frames(Number(words.get('frames')), size ?? [512, 512], Number(words.get('level') ?? 0));
    document.body.dataset.state = 'done';
    return;
  }
  page.furnish();
  const camera = Number(words.get('camera') ?? 1) - 1;
  if (camera > 0 && camera < page.scene.cameras.length) page.view.stand_at(camera);
  page.mark_camera();
  page.changed();
}

main().catch(problem => {
  show_message(problem.message);
  document.body.dataset.state = 'failed';
});
