// Mouse, touch and pen to movements of a view: one pointer turns, two (or the right button, or Shift) shift, wheel and pinch
// approach. `moved` is called after each; `clicked(x, y)` where a pointer came and went in one place; `hovers(x, y)` in between.
function connect_pointers(canvas, view_of, moved, clicked, hovers) {
  const pointers = new Map();
  let travelled = 0;
  const spread = () => {
    const [a, b] = [...pointers.values()];
    return Math.hypot(a.x - b.x, a.y - b.y) || 1;
  };
  canvas.addEventListener('pointerdown', e => {
    canvas.setPointerCapture(e.pointerId);
    pointers.set(e.pointerId, { x: e.offsetX, y: e.offsetY });
    if (pointers.size === 1) travelled = 0;
  });
  canvas.addEventListener('pointermove', e => {
    const p = pointers.get(e.pointerId);
    if (!p) { hovers(e.offsetX, e.offsetY); return; }
    const x = e.offsetX - p.x, y = e.offsetY - p.y, before = pointers.size === 2 ? spread() : 1;
    p.x = e.offsetX, p.y = e.offsetY;
    travelled += Math.abs(x) + Math.abs(y);
    if (travelled < 4) return;
    const view = view_of();
    if (pointers.size === 2) {
      view.approach(before / spread());
      view.pan(x / 2, y / 2, canvas.clientHeight);
    } else if (e.shiftKey || e.buttons & 6) {
      view.pan(x, y, canvas.clientHeight);
    } else {
      view.orbit(-0.007 * x, -0.007 * y);
    }
    moved();
  });
  const gone = e => {
    if (pointers.delete(e.pointerId) && pointers.size === 0 && travelled < 4 && e.type === 'pointerup') clicked(e.offsetX, e.offsetY);
  };
  canvas.addEventListener('pointerup', gone);
  canvas.addEventListener('pointercancel', gone);
  canvas.addEventListener('contextmenu', e => e.preventDefault());
  canvas.addEventListener('wheel', e => {
    e.preventDefault();
    const pixels = e.deltaY * [1, 16, 400][e.deltaMode];
    view_of().approach(Math.exp(0.0012 * Math.max(-300, Math.min(300, pixels)) * (e.ctrlKey ? 6 : 1)));
    moved();
  }, { passive: false });
}

// Keys to names of actions; `act(name)` answers whether it did something.
const kKeys = {
  ArrowLeft: 'left', ArrowRight: 'right', ArrowUp: 'up', ArrowDown: 'down', '+': 'nearer', '=': 'nearer', '-': 'farther',
  r: 'reset', Home: 'reset', l: 'level', f: 'frusta', b: 'background', t: 'turn', s: 'screenshot', p: 'panel', '?': 'help', h: 'help', Escape: 'close',
};
function connect_keys(act) {
  addEventListener('keydown', e => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.target.matches('input')) return;
    const name = /^[1-9]$/.test(e.key) ? 'camera ' + e.key : kKeys[e.key.length === 1 ? e.key.toLowerCase() : e.key];
    if (name && act(name, e.shiftKey)) e.preventDefault();
  });
}
