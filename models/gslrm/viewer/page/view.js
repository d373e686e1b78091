// Where one looks from, and through which lens. Axes: columns right, down, forward (OpenCV), as the cameras' c2w.
class View {
  constructor(scene) {
    this.scene = scene;
    this.up = unit(scene.up);
    this.lens = { width: 512, height: 512, k: [549, 549, 256, 256] };
    if (scene.cameras.length) this.stand_at(0);
    else this.stand_apart();
  }
  copy() { return Object.assign(Object.create(View.prototype), this); }

  // Exactly a camera: its place, its axes, its lens. It then turns about the point of its axis that is nearest to the middle.
  stand_at(index) {
    const { c2w, k, width, height } = this.scene.cameras[index];
    this.axes = [0, 1, 2, 4, 5, 6, 8, 9, 10].map(i => c2w[i]);
    this.eye = [c2w[3], c2w[7], c2w[11]];
    this.reach = Math.max(dot(add(this.scene.centre, this.eye, -1), this.forward), 0.1 * this.scene.radius);
    this.lens = { width, height, k };
    this.camera = index;   // -1: nobody's
  }
  stand_apart() {
    const side = unit(cross(this.up, Math.abs(this.up[0]) < 0.9 ? [1, 0, 0] : [0, 1, 0]));
    this.reach = 5 * this.scene.radius, this.camera = -1;
    const away = unit(add(side, this.up, 0.3)), forward = times(away, -1), right = unit(cross(forward, this.up));
    this.axes = from_columns(right, cross(forward, right), forward);
    this.eye = add(this.scene.centre, away, this.reach);
  }

  get right() { return column(this.axes, 0); }
  get down() { return column(this.axes, 1); }
  get forward() { return column(this.axes, 2); }
  get pivot() { return add(this.eye, this.forward, this.reach); }
  // The lens in a picture of this size, in pixels: all of the camera's image is inside, as large as possible.
  lens_in(width, height) {
    const { k, ...image } = this.lens, s = Math.min(width / image.width, height / image.height);
    return { scale: s, focal: [k[0] * s, k[1] * s],
             centre: [width / 2 + (k[2] - image.width / 2) * s, height / 2 + (k[3] - image.height / 2) * s] };
  }
  // World to camera: rotation (row-major) and translation.
  get inverse() {
    const m = this.axes, r = [m[0], m[3], m[6], m[1], m[4], m[7], m[2], m[5], m[8]];
    return { rotation: r, translation: times(rotated(r, this.eye), -1) };
  }
  // A point of the world in a picture: [x, y, depth].
  project(point, width, height) {
    const t = unrotated(this.axes, add(point, this.eye, -1)), { focal, centre } = this.lens_in(width, height);
    return [focal[0] * t[0] / t[2] + centre[0], focal[1] * t[1] / t[2] + centre[1], t[2]];
  }

  orbit(about_up, about_right) {   // radians
    const pivot = this.pivot, tilt = Math.acos(Math.min(1, Math.max(-1, dot(this.forward, this.up)))), kLeast = 0.03;
    // Never over the pole, where left and right would change sides.
    const turn = Math.min(Math.max(about_right, kLeast - (Math.PI - tilt)), tilt - kLeast);
    this.axes = turn_columns(this.axes, this.right, turn);
    this.axes = turn_columns(this.axes, this.up, about_up);
    this.eye = add(pivot, this.forward, -this.reach);
    this.camera = -1;
  }
  pan(x, y, height) {   // pixels of a picture of this height
    const step = this.reach / this.lens_in(height, height).focal[1];
    this.eye = add(add(this.eye, this.right, -x * step), this.down, -y * step);
    this.camera = -1;
  }
  approach(factor) {
    const pivot = this.pivot;
    this.reach = Math.min(Math.max(this.reach * factor, 0.05 * this.scene.radius), 100 * this.scene.radius);
    this.eye = add(pivot, this.forward, -this.reach);
    this.camera = -1;
  }
  level() {   // the horizon becomes horizontal
    const forward = this.forward, right = unit(cross(forward, this.up));
    if (norm(right) < 0.5) return;
    this.axes = from_columns(right, cross(forward, right), forward);
    this.camera = -1;
  }
  // Part s of the way from one view to another.
  static between(a, b, s) {
    const v = b.copy();
    v.axes = between(a.axes, b.axes, s);
    v.reach = a.reach + s * (b.reach - a.reach);
    v.eye = add(mix(a.pivot, b.pivot, s), v.forward, -v.reach);
    v.lens = { width: a.lens.width + s * (b.lens.width - a.lens.width), height: a.lens.height + s * (b.lens.height - a.lens.height),
               k: mix(a.lens.k, b.lens.k, s) };
    v.camera = -1;
    return v;
  }
}
