#include "data/demo/animal.h"

#include "data/demo/rig.h"
#include "runtime/rng.h"

namespace mfl::data::demo {

Animal::Animal(double seconds, std::uint64_t seed, double step)
    : seed_(seed),
      size_(Rng(seed, Draw::scene, 5).uniform(0.93, 1.07)),
      walk_(seconds, kArenaCentre, seed),
      rest_(rest_pose()),
      body_(make_body(Rng(seed, Draw::scene, 6).uniform(-1, 1), step)),
      coat_(make_coat(body_, seed)) {}

Animal::State Animal::at(double seconds) const {
  State s;
  s.pose = pose_at(walk_, seconds, size_, seed_);
  s.surface = bend(body_, rest_, s.pose);
  s.centre = volume_centroid(body_, s.surface);
  s.shading_normals.resize(body_.vertices.size());
  for (std::size_t i = 0; i < body_.vertices.size(); ++i) {
    const auto bone = body_.vertices[i].bones[0];   // hairs turn with the nearest bone
    s.shading_normals[i] = unit(s.surface.normals[i] + s.pose.bones[bone].turn(rest_.bones[bone].turn_back(coat_.fur[i])));
  }
  return s;
}

}  // namespace mfl::data::demo
