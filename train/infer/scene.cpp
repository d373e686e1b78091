#include "train/infer/scene.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <numeric>

#include "data/image_file.h"
#include "data/sample_folder.h"
#include "data/sha256.h"
#include "models/mvdiffusion/prompts.h"
#include "runtime/log.h"
#include "train/infer/rig.h"

namespace mfl::infer {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

namespace {

std::string read_text(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw_error<DataError>(path.string(), " cannot be read.");
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string hash_of(std::string_view bytes) { return data::hex(data::Sha256().add(bytes).finish()); }

// [S, S, channels] f32: resized, pasted on the background where it has alpha.
void place(data::Image im, const SceneOptions& o, const Tensor& all, std::int64_t at) {
  if (im.width != o.side || im.height != o.side) im = data::resize_lanczos(im, o.side, o.side);
  im = data::with_channels(im, 4);
  std::uint8_t colour[3];
  for (std::size_t c = 0; c < 3; ++c) colour[c] = static_cast<std::uint8_t>(o.background[c] * 255);
  data::composite_over(im, colour);
  const std::int64_t pixels = std::int64_t{o.side} * o.side, C = all.shape()[3];
  float* out = all.data<float>() + at * pixels * C;
  for (std::int64_t p = 0; p < pixels; ++p)
    for (std::int64_t c = 0; c < C; ++c) out[p * C + c] = float(im.pixels[static_cast<std::size_t>(4 * p + c)]) / 255.0f;
}

Tensor images(std::size_t count, int side, int channels) {
  return Tensor::on_heap({static_cast<std::int64_t>(count), side, side, channels}, DType::f32);
}

// The first input_views of the truth, without alpha.
Tensor inputs_of(const Tensor& truth, int input_views) {
  const Shape s = truth.shape();
  const Tensor out = images(static_cast<std::size_t>(input_views), static_cast<int>(s[1]), 3);
  for (std::int64_t p = 0; p < input_views * s[1] * s[2]; ++p)
    for (int c = 0; c < 3; ++c) out.data<float>()[3 * p + c] = truth.data<float>()[s[3] * p + c];
  return out;
}

void require_views(std::size_t there, int wanted, const std::string& where) {
  if (there < static_cast<std::size_t>(wanted))
    throw_error<DataError>(where, ": ", there, " views, but the model's input are ", wanted, ". Give as many, or say --input-views ", there, ".");
}

SceneSet one(Scene scene, std::string source) {
  auto held = std::make_shared<Scene>(std::move(scene));
  return {1, [held](std::int64_t) { return *held; }, [held](std::int64_t) { return held->name; }, [source](std::int64_t) { return source; }};
}

std::string folder_name(const fs::path& p) {
  const fs::path full = fs::absolute(p).lexically_normal();
  return (full.has_filename() ? full.filename() : full.parent_path().filename()).string();
}

SceneSet views_with_cameras(const fs::path& json, const SceneOptions& o) {
  const std::string text = read_text(json);
  std::vector<data::RecordingInfo> recordings;
  const data::SampleFile file = data::parse_sample_file(text, json.string(), recordings);
  const std::size_t count = file.sample.views.size();
  require_views(count, o.input_views, json.string());
  Scene s;
  s.name = folder_name(json.parent_path());
  std::vector<data::Image> pictures;
  std::vector<SizedCamera> cameras;
  data::Sha256 all;
  all.add(text);
  bool alpha = false;
  for (std::size_t v = 0; v < count; ++v) {
    const fs::path path = json.parent_path() / file.images[v];
    const std::string bytes = read_text(path);
    all.add(bytes);
    data::Image im = data::decode_image({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}, path.string());
    const data::Camera& k = file.sample.views[v].camera;
    if (k.width > 0 && (k.width != im.width || k.height != im.height))
      throw_error<DataError>(path.string(), " is ", im.width, " x ", im.height, ", but its camera in ", json.string(), " says ", k.width, " x ", k.height,
                             ". Give the images that the cameras were made for.");
    cameras.push_back({k, im.width, im.height});
    alpha |= im.channels == 4;
    pictures.push_back(std::move(im));
    s.truth_names.push_back(file.sample.views[v].name);
    s.truth_is_input.push_back(v < static_cast<std::size_t>(o.input_views));
    if (v < static_cast<std::size_t>(o.input_views)) {
      s.view_names.push_back(s.truth_names.back());
      s.view_sources.push_back(ordered_json{{"made_by", "given"}, {"file", fs::absolute(path).lexically_normal().string()}, {"sha256", hash_of(bytes)}}.dump());
    }
  }
  s.truth = images(count, o.side, alpha ? 4 : 3);
  for (std::size_t v = 0; v < count; ++v) place(std::move(pictures[v]), o, s.truth, static_cast<std::int64_t>(v));
  s.truth_cameras = posed_cameras(cameras, o.normalise, file.sample.up, o.side);
  s.image = inputs_of(s.truth, o.input_views);
  s.cameras = part(s.truth_cameras, 0, o.input_views);
  s.background = o.background;
  s.view_files.resize(static_cast<std::size_t>(o.input_views));
  s.origin = ordered_json{{"views", fs::absolute(json).lexically_normal().string()}, {"rig", "cameras of the file"}}.dump();
  return one(std::move(s), data::hex(all.finish()));
}

SceneSet six_views(const fs::path& folder, const SceneOptions& o) {
  std::vector<fs::path> files;
  for (const auto& e : fs::directory_iterator(folder)) {
    std::string ext = e.path().extension().string();
    std::transform(ext.begin(), ext.end(), ext.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (e.is_regular_file() && ext == ".png") files.push_back(e.path());
  }
  std::sort(files.begin(), files.end());
  constexpr std::size_t kSlots = mvdiffusion::kPromptSlots.size();
  if (files.size() != kSlots)
    throw_error<DataError>(folder.string(), " holds ", files.size(), " PNG files, expected ", kSlots, ": one a slot, sorted by name in the order front, front_right, "
                           "right, back, left, front_left. Views with cameras of their own, in any number, come with an ", data::kCameraFile, ".");
  require_views(files.size(), o.input_views, folder.string());
  Scene s;
  s.name = folder_name(folder);
  if (s.name == "views") s.name = folder_name(fs::absolute(folder).lexically_normal() / "..");
  const auto inputs = static_cast<std::size_t>(o.input_views);
  s.image = images(inputs, o.side, 3);
  std::vector<int> slots(inputs);
  std::iota(slots.begin(), slots.end(), 0);
  data::Sha256 all;
  for (std::size_t v = 0; v < inputs; ++v) {
    const std::string bytes = read_text(files[v]);
    all.add(bytes);
    data::Image im = data::decode_image({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}, files[v].string());
    if (im.width != im.height)
      throw_error<DataError>(files[v].string(), " is ", im.width, " x ", im.height, ", but the views of the canonical rig are square. Views of other cameras come with an ",
                             data::kCameraFile, ".");
    if (v == 0 && im.width != o.side) log_info(folder.string(), ": views of ", im.width, " pixels are resized to the model's ", o.side, ".");
    place(std::move(im), o, s.image, static_cast<std::int64_t>(v));
    s.view_names.emplace_back(mvdiffusion::kPromptSlots[v].name);
    s.view_sources.push_back(ordered_json{{"made_by", "given"}, {"file", fs::absolute(files[v]).lexically_normal().string()}, {"sha256", hash_of(bytes)}}.dump());
  }
  s.view_files.resize(inputs);
  s.cameras = canonical_cameras(slots, o.side);
  s.background = o.background;
  s.origin = ordered_json{{"views", fs::absolute(folder).lexically_normal().string()}, {"rig", "canonical"}}.dump();
  return one(std::move(s), data::hex(all.finish()));
}

// views.json of an object, and its views as images.
struct Left {
  ordered_json json;
  std::vector<int> prompts;
};
Left read_left(const fs::path& folder, const SceneOptions& o, Scene& s) {
  Left left;
  left.json = ordered_json::parse(read_text(folder / "views.json"));
  const auto& views = left.json.at("views");
  require_views(views.size(), o.input_views, folder.string());
  s.image = images(static_cast<std::size_t>(o.input_views), o.side, 3);
  for (std::size_t v = 0; v < static_cast<std::size_t>(o.input_views); ++v) {
    const fs::path file = views[v].at("file").get<std::string>();
    const std::string bytes = read_text(folder / file);
    place(data::decode_image({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}, (folder / file).string()), o, s.image, static_cast<std::int64_t>(v));
    left.prompts.push_back(views[v].at("prompt").get<int>());
    s.view_names.push_back(views[v].at("view").get<std::string>());
    s.view_files.push_back(file);
    s.view_sources.push_back(ordered_json{{"made_by", "mvdiffusion"}, {"sha256", hash_of(bytes)}}.dump());
  }
  s.background = o.background;
  return left;
}

std::string origin_of(const ordered_json& views, const char* rig) {
  ordered_json j = views;
  j.erase("views"), j.erase("metrics");
  return ordered_json{{"mvdiffusion", j}, {"rig", rig}}.dump();
}

}  // namespace

SceneSet given_views(const fs::path& path, const SceneOptions& o) {
  std::error_code none;
  if (!fs::exists(path, none))
    throw_error<DataError>(path.string(), " does not exist. --views names a folder of six PNG files in slot order, or an ", data::kCameraFile, ".");
  if (!fs::is_directory(path, none)) {
    if (path.extension() != ".json")
      throw_error<DataError>(path.string(), " is a file, but --views names a folder of six PNG files in slot order, or an ", data::kCameraFile,
                             ". One image is given with --image.");
    return views_with_cameras(path, o);
  }
  if (fs::exists(path / data::kCameraFile, none)) return views_with_cameras(path / data::kCameraFile, o);
  if (fs::is_directory(path / "views", none)) return six_views(path / "views", o);
  return six_views(path, o);
}

SceneSet generated_views(const ViewSet& set, std::function<fs::path(std::int64_t)> folder, const SceneOptions& o) {
  auto scene = [name = set.name, folder, o](std::int64_t i) {
    Scene s;
    s.name = name(i);
    const Left left = read_left(folder(i), o, s);
    s.cameras = canonical_cameras(left.prompts, o.side);
    s.origin = origin_of(left.json, "canonical");
    return s;
  };
  return {set.size, scene, set.name, [folder](std::int64_t i) { return hash_of(read_text(folder(i) / "views.json")); }};
}

SceneSet generated_views(const ViewSet& set, std::function<fs::path(std::int64_t)> folder, const SceneOptions& o,
                         std::shared_ptr<const data::ViewReader> reader, const ViewSetOptions& rule) {
  SceneSet scenes = generated_views(set, folder, o);
  scenes.scene = [name = set.name, folder, o, reader, rule](std::int64_t i) {
    Scene s;
    s.name = name(i);
    const Left left = read_left(folder(i), o, s);
    const ChosenViews chosen = choose_views(*reader, i, rule);
    std::vector<SizedCamera> cameras;
    s.truth = images(chosen.views.size(), o.side, reader->has_alpha(i) ? 4 : 3);
    for (std::size_t k = 0; k < chosen.views.size(); ++k) {
      cameras.push_back({reader->camera(i, chosen.views[k]), reader->width(i), reader->height(i)});
      place(reader->read(i, chosen.views[k]), o, s.truth, static_cast<std::int64_t>(k));
      s.truth_names.push_back(reader->view_name(i, chosen.views[k]));
      s.truth_is_input.push_back(chosen.views[k] == chosen.reference);   // the one true view that anything was made of
    }
    s.truth_cameras = posed_cameras(cameras, o.normalise, reader->up(i), o.side);
    s.cameras = part(s.truth_cameras, 0, o.input_views);
    s.origin = origin_of(left.json, "cameras of the data set");
    return s;
  };
  return scenes;
}

SceneSet packed_scenes(std::shared_ptr<const data::Dataset> data) {
  auto scene = [data](std::int64_t i) {
    const data::ViewReader& r = data->reader();
    const data::SamplePlan plan = data->plan({.sample = i, .pass = 0});
    const int S = data->options().image_size, C = data->channels();
    const auto inputs = static_cast<std::size_t>(data->options().num_input_views), apart = static_cast<std::size_t>(data->separate_inputs());
    Scene s;
    s.name = r.sample_name(i);
    for (std::size_t c = 0; c < 3; ++c) s.background[c] = plan.background[c];
    const Tensor all = images(plan.views.size(), S, C);
    gslrm::Cameras cameras{Tensor::on_heap({all.shape()[0], 4, 4}, DType::f32), Tensor::on_heap({all.shape()[0], 4}, DType::f32), S, S};
    data::RawView raw;
    for (std::size_t k = 0; k < plan.views.size(); ++k) {
      r.read_raw(i, plan.views[k], raw);
      data->render(plan, static_cast<int>(k), raw, all.data<float>() + static_cast<std::int64_t>(k) * S * S * C);
      std::copy(plan.c2w[k].begin(), plan.c2w[k].end(), cameras.c2w.data<float>() + 16 * k);
      std::copy(plan.fxfycxcy[k].begin(), plan.fxfycxcy[k].end(), cameras.fxfycxcy.data<float>() + 4 * k);
      if (k < inputs) {
        s.view_names.push_back(r.view_name(i, plan.views[k]));
        s.view_sources.push_back(ordered_json{{"made_by", "given"}, {"view", plan.views[k]}, {"sha256", data::hex(r.pixel_hash(i, plan.views[k]))}}.dump());
      }
      if (k >= apart) {
        s.truth_names.push_back(r.view_name(i, plan.views[k]));
        s.truth_is_input.push_back(apart == 0 && k < inputs);
      }
    }
    s.image = inputs_of(all, static_cast<int>(inputs));
    s.view_files.resize(inputs);
    s.cameras = part(cameras, 0, static_cast<std::int64_t>(inputs));
    const auto first = static_cast<std::int64_t>(apart), count = all.shape()[0] - first;
    s.truth = all.rows(first, count);
    s.truth_cameras = part(cameras, first, count);
    ordered_json origin = {{"dataset", fs::absolute(r.path()).lexically_normal().string()}, {"sample", r.stored_name(i)}};
    if (r.raw_frame(i) >= 0) origin["raw_frame"] = r.raw_frame(i);
    origin["rig"] = "cameras of the data set";
    s.origin = origin.dump();
    return s;
  };
  auto source = [data](std::int64_t i) {
    const data::ViewReader& r = data->reader();
    data::Sha256 all;
    for (int v = 0; v < r.views(i); ++v) {
      all.add(r.pixel_hash(i, v).data(), r.pixel_hash(i, v).size());
      all.add(&r.camera(i, v), sizeof(data::Camera));
    }
    return data::hex(all.finish());
  };
  return {data->size(), scene, [data](std::int64_t i) { return data->reader().sample_name(i); }, source};
}

}  // namespace mfl::infer
