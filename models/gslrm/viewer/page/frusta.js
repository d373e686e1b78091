// The cameras, as outlines over the picture; a click on one looks from there.
class Frusta {
  constructor(canvas, scene) {
    this.context = canvas.getContext('2d'), this.canvas = canvas, this.scene = scene;
    const distance = c => norm(add([c.c2w[3], c.c2w[7], c.c2w[11]], scene.centre, -1));
    const depth = 0.11 * (scene.cameras.length ? Math.min(...scene.cameras.map(distance)) : 1);
    // Apex, then the image's corners at that depth.
    this.corners = scene.cameras.map(({ c2w, k, width, height }) => [[0, 0, 0], [0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]].map(([x, y, z]) => {
      const p = [(x - k[2]) / k[0] * depth * z, (y - k[3]) / k[1] * depth * z, depth * z];
      return [0, 4, 8].map(r => c2w[r] * p[0] + c2w[r + 1] * p[1] + c2w[r + 2] * p[2] + c2w[r + 3]);
    }));
    this.hovered = -1;
  }
  clear() { this.context.clearRect(0, 0, this.canvas.width, this.canvas.height); }
  draw(view, ratio) {   // ratio: of device pixels to the page's
    const { clientWidth: width, clientHeight: height } = this.canvas, c = this.context;
    if (this.canvas.width !== Math.round(width * ratio)) this.canvas.width = Math.round(width * ratio);
    if (this.canvas.height !== Math.round(height * ratio)) this.canvas.height = Math.round(height * ratio);
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.clear();
    this.seen = this.corners.map((points, i) => {
      const p = points.map(x => view.project(x, width, height));
      return i !== view.camera && p.every(x => x[2] > 0.02 * view.reach) ? p : null;
    });
    c.lineJoin = 'round';
    this.seen.forEach((p, i) => {
      if (!p) return;
      const path = new Path2D();
      for (let e = 1; e < 5; ++e) path.moveTo(p[0][0], p[0][1]), path.lineTo(p[e][0], p[e][1]), path.lineTo(p[e % 4 + 1][0], p[e % 4 + 1][1]);
      const on = i === this.hovered;
      c.beginPath(), p.slice(1).forEach(([x, y]) => c.lineTo(x, y)), c.closePath();
      c.fillStyle = on ? 'rgba(217,130,43,.16)' : 'rgba(11,111,184,.10)', c.fill();
      c.strokeStyle = 'rgba(255,255,255,.75)', c.lineWidth = on ? 5 : 3.5, c.stroke(path);
      c.strokeStyle = on ? '#d9822b' : '#0b6fb8', c.lineWidth = on ? 2 : 1.25, c.stroke(path);
      const [x, y] = p[0];
      c.beginPath(), c.arc(x, y, 9, 0, 2 * Math.PI);
      c.fillStyle = on ? '#d9822b' : '#0b6fb8', c.fill();
      c.fillStyle = '#fff', c.font = '600 11px system-ui, sans-serif', c.textAlign = 'center', c.textBaseline = 'middle';
      c.fillText(i + 1, x, y + 0.5);
    });
  }
  // The camera at a point of the page, -1 for none; the nearest of several.
  at(x, y) {
    let best = -1, depth = Infinity;
    (this.seen || []).forEach((p, i) => {
      if (!p || p[0][2] >= depth) return;
      let inside = false;   // of the image's outline
      for (let a = 1, b = 4; a < 5; b = a++)
        if (p[a][1] > y !== p[b][1] > y && x < (p[b][0] - p[a][0]) * (y - p[a][1]) / (p[b][1] - p[a][1]) + p[a][0]) inside = !inside;
      if (inside || Math.hypot(p[0][0] - x, p[0][1] - y) < 12) best = i, depth = p[0][2];
    });
    return best;
  }
}
