// One Gaussian to a triangle round the ellipse in which its alpha can reach 1/255. (Two triangles, a rectangle, would hold fewer
// pixels; where triangles are drawn in software, their number is what costs.) Formulas and constants are those of
// kernels/splat (project.h, rasterize.h): near plane 0.2, dilation 0.3 pixels^2, Jacobian bounded at 1.3 tan(fov / 2).
// The painter puts `#version` and `#define DEGREE` in front.
precision highp float;
precision highp int;
precision highp usampler2D;
precision highp isampler2D;

uniform usampler2D core;      // 4 words a Gaussian, see pack.h
uniform usampler2D colours;   // r g b opacity
uniform isampler2D rest;      // SH above degree 0, DEGREE texels of 4 words a Gaussian
uniform usampler2D order;     // farthest first

uniform vec3 position_low, position_step, rest_largest;
uniform vec2 scale_coding, colour_coding;   // low, step
uniform mat3 world_to_camera;
uniform vec3 translation, eye;
uniform vec2 focal, centre, picture, limit;  // pixels; limit: of x/z and y/z
uniform float size_factor, opacity_factor;

flat out vec4 shade;   // r g b opacity
out vec2 place;        // in standard deviations along the ellipse's axes

const int kRow = 4096;   // texels in a row of every texture

ivec2 texel(int i) { return ivec2(i % kRow, i / kRow); }

mat3 rotation_of(uint word) {
  vec3 three = (vec3(uvec3(word, word >> 10, word >> 20) & 1023u) - 511.0) * (0.70710678 / 511.0);
  float one = sqrt(max(0.0, 1.0 - dot(three, three)));
  uint largest = word >> 30;
  vec4 q = largest == 0u ? vec4(one, three)
         : largest == 1u ? vec4(three.x, one, three.yz)
         : largest == 2u ? vec4(three.xy, one, three.z)
                         : vec4(three, one);
  float w = q.x, x = q.y, y = q.z, z = q.w;
  return mat3(1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z), 2.0 * (x * z - w * y),
              2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z + w * x),
              2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y));
}

#if DEGREE > 0
ivec4 rest_words(int i, int texels, int part) { return texelFetch(rest, texel(i * texels + part), 0); }
// What degrees 1 to DEGREE add to the colour, for the unit direction d from the eye (kernels/splat/sh.h).
vec3 directional(int i, vec3 d) {
  float x = d.x, y = d.y, z = d.z, xx = x * x, yy = y * y, zz = z * z;
  float basis[16];
  for (int k = 0; k < 16; ++k) basis[k] = 0.0;
  basis[1] = -0.4886025119 * y, basis[2] = 0.4886025119 * z, basis[3] = -0.4886025119 * x;
#if DEGREE > 1
  basis[4] = 1.0925484306 * x * y, basis[5] = -1.0925484306 * y * z, basis[6] = 0.3153915653 * (2.0 * zz - xx - yy);
  basis[7] = -1.0925484306 * x * z, basis[8] = 0.5462742153 * (xx - yy);
#endif
#if DEGREE > 2
  basis[9] = -0.5900435899 * y * (3.0 * xx - yy), basis[10] = 2.8906114426 * x * y * z;
  basis[11] = -0.4570457995 * y * (4.0 * zz - xx - yy), basis[12] = 0.3731763326 * z * (2.0 * zz - 3.0 * xx - 3.0 * yy);
  basis[13] = -0.4570457995 * x * (4.0 * zz - xx - yy), basis[14] = 1.4453057213 * z * (xx - yy);
  basis[15] = -0.5900435899 * x * (xx - 3.0 * yy);
#endif
  vec3 sum = vec3(0.0);
  ivec4 words = ivec4(0);
  for (int b = 0; b < 3 * ((DEGREE + 1) * (DEGREE + 1) - 1); ++b) {   // bytes
    if (b % 16 == 0) words = rest_words(i, DEGREE, b / 16);
    int k = b / 3 + 1;
    float largest = k < 4 ? rest_largest.x : k < 9 ? rest_largest.y : rest_largest.z;
    sum[b % 3] += basis[k] * largest / 127.0 * float(words[b % 16 / 4] << (24 - 8 * (b % 4)) >> 24);
  }
  return sum;
}
#endif

void main() {
  gl_Position = vec4(0.0, 0.0, 2.0, 1.0);   // outside: nothing is drawn
  shade = vec4(0.0), place = vec2(0.0);
  int i = int(texelFetch(order, texel(gl_VertexID / 3), 0).r);
  uvec4 word = texelFetch(core, texel(i), 0);

  vec3 position = position_low + position_step * vec3(word.x & 0x1fffffu, (word.x >> 21) | ((word.y & 1023u) << 11),
                                                      (word.y >> 10) & 0x1fffffu);
  vec3 t = world_to_camera * position + translation;
  if (t.z <= 0.2) return;
  uint packed_colour = texelFetch(colours, texel(i), 0).r;
  float root = float(packed_colour >> 24) / 255.0;
  float opacity = min(1.0, root * root * opacity_factor);
  if (opacity < 1.0 / 255.0) return;

  vec3 scale = size_factor * exp(scale_coding.x + scale_coding.y * vec3(uvec3(word.z, word.z >> 10, word.z >> 20) & 1023u));
  mat3 axes = world_to_camera * rotation_of(word.w);   // columns: the Gaussian's axes in the camera's
  axes[0] *= scale.x, axes[1] *= scale.y, axes[2] *= scale.z;
  vec2 bounded = clamp(t.xy / t.z, -limit, limit);
  // Rows of the Jacobian times the axes.
  vec3 across = focal.x / t.z * (vec3(axes[0].x, axes[1].x, axes[2].x) - bounded.x * vec3(axes[0].z, axes[1].z, axes[2].z));
  vec3 along = focal.y / t.z * (vec3(axes[0].y, axes[1].y, axes[2].y) - bounded.y * vec3(axes[0].z, axes[1].z, axes[2].z));
  float a = dot(across, across) + 0.3, b = dot(across, along), c = dot(along, along) + 0.3;

  float middle = 0.5 * (a + c), difference = length(vec2(0.5 * (a - c), b));
  float major = middle + difference, minor = max((a * c - b * b) / major, 0.3);
  vec2 direction = a >= c ? vec2(major - c, b) : vec2(b, major - a);
  direction = difference > 1e-6 * major ? normalize(direction) : vec2(1.0, 0.0);

  // Where alpha falls to 1/255, in standard deviations.
  float reach = sqrt(2.0 * log(255.0 * opacity));
  int k = gl_VertexID % 3;
  vec2 corner = k == 0 ? vec2(0.0, 2.0) : vec2(k == 1 ? -1.7320508 : 1.7320508, -1.0);
  place = corner * reach;
  vec2 pixel = focal * t.xy / t.z + centre + direction * (place.x * sqrt(major)) + vec2(-direction.y, direction.x) * (place.y * sqrt(minor));
  gl_Position = vec4(2.0 * pixel.x / picture.x - 1.0, 1.0 - 2.0 * pixel.y / picture.y, 0.0, 1.0);

  vec3 colour = colour_coding.x + colour_coding.y * vec3(uvec3(packed_colour, packed_colour >> 8, packed_colour >> 16) & 255u);
#if DEGREE > 0
  colour += directional(i, normalize(position - eye));
#endif
  shade = vec4(max(colour, 0.0), opacity);
}
