// Alpha of a Gaussian at a pixel, as kernels/splat/rasterize.h; premultiplied, for blending over what lies behind.
precision highp float;

flat in vec4 shade;
in vec2 place;
out vec4 pixel;

void main() {
  float alpha = min(0.99, shade.a * exp(-0.5 * dot(place, place)));
  if (alpha < 1.0 / 255.0) discard;
  pixel = vec4(shade.rgb * alpha, alpha);
}
