// WebGL 2: the scene in textures, one draw call a frame, back to front.
class Painter {
  // Throws an Error that is a sentence for the person in front of the page.
  constructor(canvas, scene) {
    const gl = canvas.getContext('webgl2', { alpha: false, antialias: false, depth: false, powerPreference: 'high-performance' });
    if (!gl) throw new Error('This page draws with WebGL 2, and this browser offers none here. A current Chrome, Edge, Firefox or ' +
                             'Safari has it; where it is switched off, allow hardware acceleration in the browser\u2019s settings.');
    this.gl = gl, this.canvas = canvas, this.scene = scene, this.seen = 0, this.stride = 1;
    const rows = n => Math.max(1, Math.ceil(n / Painter.kRow)), texels = scene.count * Math.max(1, scene.degree);
    const largest = gl.getParameter(gl.MAX_TEXTURE_SIZE);
    if (largest < Math.max(Painter.kRow, rows(texels)))
      throw new Error(`This scene needs textures of ${Painter.kRow} x ${rows(texels)}; this browser\u2019s graphics stop at ${largest}.`);
    this.program = this.build();
    gl.useProgram(this.program);
    this.texture(0, 'core', gl.RGBA32UI, gl.RGBA_INTEGER, gl.UNSIGNED_INT, scene.core, 4, scene.count);
    this.texture(1, 'colours', gl.R32UI, gl.RED_INTEGER, gl.UNSIGNED_INT, scene.colours, 1, scene.count);
    if (scene.degree > 0) this.texture(2, 'rest', gl.RGBA32I, gl.RGBA_INTEGER, gl.INT, scene.rest, 4, texels);
    this.order_texture = this.texture(3, 'order', gl.R32UI, gl.RED_INTEGER, gl.UNSIGNED_INT, null, 1, scene.count);

    this.set('3fv', 'position_low', scene.position.low);
    this.set('3fv', 'position_step', scene.position.step);
    this.set('2fv', 'scale_coding', [scene.scale.low, scene.scale.step]);
    this.set('2fv', 'colour_coding', [scene.colour.low, scene.colour.step]);
    this.set('3fv', 'rest_largest', scene.rest_largest);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }
  static kRow = 4096;

  build() {
    const gl = this.gl, program = gl.createProgram();
    const shaders = [[gl.VERTEX_SHADER, 'splat-vertex'], [gl.FRAGMENT_SHADER, 'splat-fragment']].map(([kind, id]) => {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, `#version 300 es\n#define DEGREE ${this.scene.degree}\n` + document.getElementById(id).textContent);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
      return shader;
    });
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS))
      throw new Error('The graphics driver refuses the page\u2019s shaders: ' + [...shaders.map(s => gl.getShaderInfoLog(s)), gl.getProgramInfoLog(program)].join(' '));
    return program;
  }
  set(kind, name, ...value) { this.gl['uniform' + kind](this.gl.getUniformLocation(this.program, name), ...value); }
  // A texture of `count` texels in rows of kRow.
  texture(unit, name, stored, format, type, values, words, count) {
    const gl = this.gl, texture = gl.createTexture();
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_2D, texture);
    for (const key of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, key, gl.NEAREST);
    gl.texStorage2D(gl.TEXTURE_2D, 1, stored, Painter.kRow, Math.max(1, Math.ceil(count / Painter.kRow)));
    this.set('1i', name, unit);
    if (values) this.upload(unit, format, type, values, words, count);
    return texture;
  }
  upload(unit, format, type, values, words, count) {
    const gl = this.gl, row = Painter.kRow, whole = Math.floor(count / row), left = count - whole * row;
    gl.activeTexture(gl.TEXTURE0 + unit);
    if (whole) gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, row, whole, format, type, values, 0);
    if (left) gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, whole, left, 1, format, type, values, whole * row * words);
  }
  // What is drawn from now on. Where only every stride-th Gaussian is, each covers its neighbours' area as well.
  order(order, seen, stride) {
    this.seen = seen, this.stride = stride;
    this.upload(3, this.gl.RED_INTEGER, this.gl.UNSIGNED_INT, order, 1, seen);
  }

  // look: { background: [r, g, b], opacity, size }
  draw(view, width, height, look) {
    const gl = this.gl;
    if (this.canvas.width !== width) this.canvas.width = width;
    if (this.canvas.height !== height) this.canvas.height = height;
    gl.viewport(0, 0, width, height);
    gl.clearColor(...look.background, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
    const { rotation, translation } = view.inverse, { focal, centre } = view.lens_in(width, height);
    this.set('Matrix3fv', 'world_to_camera', true, rotation);
    this.set('3fv', 'translation', translation);
    this.set('3fv', 'eye', view.eye);
    this.set('2fv', 'focal', focal);
    this.set('2fv', 'centre', centre);
    this.set('2fv', 'picture', [width, height]);
    this.set('2fv', 'limit', [1.3 * width / (2 * focal[0]), 1.3 * height / (2 * focal[1])]);
    this.set('1f', 'size_factor', look.size * Math.sqrt(this.stride));
    this.set('1f', 'opacity_factor', look.opacity);
    gl.drawArrays(gl.TRIANGLES, 0, 3 * this.seen);
  }
  wait() { this.gl.readPixels(0, 0, 1, 1, this.gl.RGBA, this.gl.UNSIGNED_BYTE, new Uint8Array(4)); }   // for the GPU
  // The picture that was drawn in this task: RGBA, the top row first. Waits for the GPU.
  pixels() {
    const gl = this.gl, { width, height } = this.canvas, row = 4 * width, below = new Uint8Array(row * height), out = new Uint8Array(row * height);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, below);
    for (let y = 0; y < height; ++y) out.set(below.subarray(row * (height - 1 - y), row * (height - y)), row * y);
    return out;
  }
  get device() {
    const more = this.gl.getExtension('WEBGL_debug_renderer_info');
    return this.gl.getParameter(more ? more.UNMASKED_RENDERER_WEBGL : this.gl.RENDERER);
  }
}
