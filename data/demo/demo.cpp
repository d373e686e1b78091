#include "data/demo/demo.h"

#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <numbers>

#include "data/demo/rig.h"
#include "data/demo/view.h"
#include "data/image_file.h"
#include "data/recording.h"

namespace mfl::data::demo {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

json as_json(V p) {
  const auto micrometres = [](double x) { return std::round(1000 * x) / 1000; };
  return {micrometres(p.x), micrometres(p.y), micrometres(p.z)};
}

void make_recording(const fs::path& folder, const Options& o, std::uint64_t seed, const std::function<void()>& frame_done) {
  const std::vector<RawCamera> rig = make_rig(o.width, o.height, seed);
  for (const char* leaf : {kVideoFolder, kMaskFolder}) {
    std::error_code error;
    fs::create_directories(folder / leaf, error);
    if (error) throw_error<DataError>((folder / leaf).string(), ": the folder cannot be made: ", error.message());
  }
  std::vector<std::unique_ptr<VideoWriter>> colours, masks;
  for (std::size_t k = 0; k < rig.size(); ++k) {
    const std::string name = std::to_string(k) + ".mp4";
    colours.push_back(std::make_unique<VideoWriter>((folder / kVideoFolder / name).string(), o.width, o.height, o.frames_per_second));
    masks.push_back(std::make_unique<VideoWriter>((folder / kMaskFolder / name).string(), o.width, o.height, o.frames_per_second));
  }

  const Animal animal(static_cast<double>(o.frames) / o.frames_per_second, seed);
  Lighting light;
  std::vector<Picture> arena;
  for (const RawCamera& c : rig) arena.push_back(picture_of_arena(c, light, seed));

  json truth{{"seed", seed}, {"frames_per_second", o.frames_per_second}, {"unit", "mm"}, {"frames", json::array()}};
  for (std::int64_t f = 0; f < o.frames; ++f) {
    const Animal::State state = animal.at(static_cast<double>(f) / o.frames_per_second);
    light.set_caster(state.surface.points);
    const FloorShadow shadow(light, state.surface.points);
    const std::vector<V> on_vertex = light_on(animal, state, light);
#pragma omp parallel for schedule(dynamic)
    for (std::size_t k = 0; k < rig.size(); ++k) {
      const View view = render_view(rig[k], arena[k], shadow, light, animal, state, on_vertex);
      colours[k]->add(view.colour);
      masks[k]->add(view.mask);
    }
    json points;
    for (const auto& [name, p] : state.pose.keypoints()) points[name] = as_json(p);
    truth["frames"].push_back({{"frame", f}, {"centre", as_json(state.centre)}, {"heading", std::round(1e6 * std::remainder(state.pose.heading, 2 * std::numbers::pi)) / 1e6}, {"keypoints", points}});
    frame_done();
  }
  for (const auto& v : colours) v->close();
  for (const auto& v : masks) v->close();
  std::ofstream out(folder / "truth.json");
  out << truth.dump(1) << '\n';
  if (!out.flush()) throw_error<DataError>((folder / "truth.json").string(), ": cannot be written; is the disk full?");
  // Last: a folder with a calibration is a whole recording.
  write_new_cam((folder / kCalibrationFile).string(), rig);
}

}  // namespace

void make_recordings(const Options& o, const std::function<void(std::int64_t, std::int64_t)>& progress) {
  if (o.output.empty()) throw_error<ConfigError>("mfl_data demo needs --output FOLDER, the recording to make");
  if (o.frames < 1 || o.frames > 10'000'000) throw_error<ConfigError>("--frames must be from 1 to 10000000, got ", o.frames);
  if (o.animals < 1 || o.animals > 1000) throw_error<ConfigError>("--animals must be from 1 to 1000, got ", o.animals);
  if (o.width < 64 || o.height < 64 || o.width > 4096 || o.height > 4096 || o.width % 2 || o.height % 2)
    throw_error<ConfigError>("--size must be even sides from 64 to 4096 pixels, got ", o.width, " x ", o.height);
  if (!(o.frames_per_second >= 1 && o.frames_per_second <= 1000))
    throw_error<ConfigError>("--fps must be from 1 to 1000, got ", o.frames_per_second);
  const fs::path root(o.output);
  const auto folder = [&](int animal) { return o.animals == 1 ? root : root / ("animal_" + std::to_string(animal)); };
  if (!o.overwrite)
    for (int a = 0; a < o.animals; ++a)
      if (is_recording(folder(a).string()))
        throw_error<DataError>(folder(a).string(), ": holds a recording already. Choose another --output, or replace it with --overwrite");
  std::int64_t done = 0;
  for (int a = 0; a < o.animals; ++a) {
    std::error_code absent;
    fs::remove(folder(a) / kCalibrationFile, absent);
    make_recording(folder(a), o, o.seed + 1000003ull * static_cast<std::uint64_t>(a), [&] { progress(++done, o.frames * o.animals); });
  }
}

}  // namespace mfl::data::demo
