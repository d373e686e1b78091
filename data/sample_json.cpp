#include "data/sample_json.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "runtime/error.h"

namespace mfl::data {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

Json parsed(std::string_view json, const std::string& source) {
  try {
    Json root = Json::parse(json);
    if (!root.is_object()) throw_error<DataError>(source, ": must hold an object, got ", root.type_name());
    return root;
  } catch (const Json::exception& e) {
    throw_error<DataError>(source, ": not readable as JSON: ", e.what());
  }
}

// ---- values of one key; an absent key leaves `to` as it is ----

double number_of(const Json& j, const char* key, const std::string& where) {
  if (!j.is_number()) throw_error<DataError>(where, ": \"", key, "\" must hold numbers, got ", j.type_name());
  return j.get<double>();
}
bool read(const Json& from, const char* key, double& to, const std::string& where) {
  const auto it = from.find(key);
  if (it == from.end()) return false;
  to = number_of(*it, key, where);
  return true;
}
bool read(const Json& from, const char* key, float& to, const std::string& where) {
  double v = 0;
  if (!read(from, key, v, where)) return false;
  to = static_cast<float>(v);
  return true;
}
bool read(const Json& from, const char* key, std::int64_t& to, const std::string& where) {
  const auto it = from.find(key);
  if (it == from.end()) return false;
  if (!it->is_number_integer()) throw_error<DataError>(where, ": \"", key, "\" must be an integer, got ", it->type_name());
  to = it->get<std::int64_t>();
  return true;
}
bool read(const Json& from, const char* key, std::string& to, const std::string& where) {
  const auto it = from.find(key);
  if (it == from.end()) return false;
  if (!it->is_string()) throw_error<DataError>(where, ": \"", key, "\" must be a text, got ", it->type_name());
  to = it->get<std::string>();
  return true;
}
// A list of `count` numbers, or for a matrix the list of its rows of `columns`.
template <class T>
bool read(const Json& from, const char* key, T* to, std::size_t count, std::size_t columns, const std::string& where) {
  const auto it = from.find(key);
  if (it == from.end()) return false;
  const auto wrong = [&] { throw_error<DataError>(where, ": \"", key, "\" must be ", count / columns, " x ", columns, " numbers"); };
  const bool rows = count != columns;
  if (!it->is_array() || it->size() != (rows ? count / columns : count)) wrong();
  for (std::size_t i = 0; i < count; ++i) {
    const Json& row = rows ? (*it)[i / columns] : *it;
    if (!row.is_array() || row.size() != columns) wrong();
    to[i] = static_cast<T>(number_of(row[i % columns], key, where));
  }
  return true;
}

template <class T>
Json matrix_of(const T* m, std::size_t rows, std::size_t columns) {
  Json j = Json::array();
  for (std::size_t r = 0; r < rows; ++r) {
    Json row = Json::array();
    for (std::size_t c = 0; c < columns; ++c) row.push_back(static_cast<double>(m[r * columns + c]));
    j.push_back(std::move(row));
  }
  return j;
}
template <class T>
Json row_of(const T* m, std::size_t count) {
  return matrix_of(m, 1, count)[0];
}
// Texts of foreign files need not be UTF-8.
std::string dumped(const Json& j, int indent = -1) { return j.dump(indent, ' ', false, Json::error_handler_t::replace); }

// ---- a camera ----

double needed(const Json& frame, const char* key, const std::string& where) {
  double v = 0;
  if (!read(frame, key, v, where)) throw_error<DataError>(where, ": the key \"", key, "\" is missing");
  return v;
}
int optional_size(const Json& frame, const char* key, const std::string& where) {
  if (!frame.contains(key)) return 0;
  const double v = needed(frame, key, where);
  if (!(v >= 1 && v <= 65536 && v == std::floor(v)))
    throw_error<DataError>(where, ": \"", key, "\" must be an image size from 1 to 65536, got ", v);
  return static_cast<int>(v);
}
Camera read_camera(const Json& frame, const std::string& where) {
  Camera c;
  c.width = optional_size(frame, "w", where), c.height = optional_size(frame, "h", where);
  c.fx = needed(frame, "fx", where), c.fy = needed(frame, "fy", where);
  c.cx = needed(frame, "cx", where), c.cy = needed(frame, "cy", where);
  if (!read(frame, "w2c", c.w2c.data(), 16, 4, where)) throw_error<DataError>(where, ": the key \"w2c\" is missing");
  return c;
}

// ---- what a frame says beyond FaceLift's keys ----

void read_view(const Json& j, View& v, const std::string& where) {
  std::string role;
  if (read(j, "role", role, where)) {
    if (role != "input" && role != "target" && role != "both")
      throw_error<DataError>(where, ": \"role\" must be input, target or both, got \"", role, "\"");
    v.role = role == "input" ? Role::input : role == "target" ? Role::target : Role::both;
  }
  read(j, "warp", v.warp.data(), 9, 3, where);
  read(j, "zoom", v.zoom, where);
  std::int64_t slot = -1;
  if (read(j, "prompt_slot", slot, where)) {
    if (slot < -1 || slot > 4096) throw_error<DataError>(where, ": \"prompt_slot\" must be from -1 to 4096, got ", slot);
    v.prompt_slot = static_cast<int>(slot);
  }
  read(j, "slot_error", v.slot_error, where);
  if (const auto raw = j.find("raw"); raw != j.end()) {
    SourceCamera c;
    if (!raw->is_object() || !read(*raw, "K", c.k.data(), 9, 3, where) || !read(*raw, "w2c", c.w2c.data(), 16, 4, where))
      throw_error<DataError>(where, ": \"raw\" must hold \"K\" and \"w2c\"");
    if (c.k[8] != 1) throw_error<DataError>(where, ": \"raw\": the last number of \"K\" must be 1, got ", c.k[8]);
    v.raw = c;
  }
  if (const auto stats = j.find("stats"); stats != j.end()) {
    if (!stats->is_object()) throw_error<DataError>(where, ": \"stats\" must be an object, got ", stats->type_name());
    ViewStats& s = v.stats;
    read(*stats, "centroid", s.centroid, 2, 2, where), read(*stats, "box", s.box, 4, 4, where);
    read(*stats, "clipped", s.clipped, where), read(*stats, "hull_iou", s.hull_iou, where);
    read(*stats, "centroid_error", s.centroid_error, where);
  }
}

Json json_of_view(const View& v) {
  Json j = Json::object();
  static const View kPlain{};
  if (v.role != Role::both) j["role"] = name_of(v.role);
  if (v.warp != kPlain.warp) j["warp"] = matrix_of(v.warp.data(), 3, 3);
  if (v.zoom != 1) j["zoom"] = v.zoom;
  if (v.prompt_slot >= 0) j["prompt_slot"] = v.prompt_slot;
  if (!std::isnan(v.slot_error)) j["slot_error"] = v.slot_error;
  if (v.raw) j["raw"] = {{"K", matrix_of(v.raw->k.data(), 3, 3)}, {"w2c", matrix_of(v.raw->w2c.data(), 4, 4)}};
  Json stats = Json::object();
  const ViewStats& s = v.stats;
  if (!std::isnan(s.centroid[0])) stats["centroid"] = row_of(s.centroid, 2);
  if (!std::isnan(s.box[0])) stats["box"] = row_of(s.box, 4);
  if (!std::isnan(s.clipped)) stats["clipped"] = s.clipped;
  if (!std::isnan(s.hull_iou)) stats["hull_iou"] = s.hull_iou;
  if (!std::isnan(s.centroid_error)) stats["centroid_error"] = s.centroid_error;
  if (!stats.empty()) j["stats"] = std::move(stats);
  return j;
}

// Views are named after their images: by the last part alone where that tells those of a role apart.
void name_views(Sample& s, const std::vector<std::string>& images) {
  std::map<std::pair<Role, std::string>, int> uses;
  for (std::size_t i = 0; i < images.size(); ++i) ++uses[{s.views[i].role, fs::path(images[i]).stem().string()}];
  for (std::size_t i = 0; i < images.size(); ++i) {
    View& v = s.views[i];
    v.name = fs::path(images[i]).stem().string();
    if (uses[{v.role, v.name}] == 1) continue;
    v.name = fs::path(images[i]).replace_extension().relative_path().string();
    std::replace(v.name.begin(), v.name.end(), '/', '_');
  }
}

}  // namespace

SampleFile parse_sample_file(std::string_view json, const std::string& source, std::vector<RecordingInfo>& recordings, Check check) {
  const Json root = parsed(json, source);
  const auto frames = root.find("frames");
  if (frames == root.end() || !frames->is_array() || frames->empty())
    throw_error<DataError>(source, ": \"frames\" must be a list of at least one camera");
  SampleFile out;
  Sample& s = out.sample;
  if (const auto id = root.find("id"); id != root.end() && id->is_string()) s.name = id->get<std::string>();
  std::string recording, split;
  if (read(root, "recording", recording, source)) {
    std::size_t r = 0;
    while (r < recordings.size() && recordings[r].name != recording) ++r;
    if (r == recordings.size()) recordings.push_back({recording, 0, 0, {}});
    s.recording = static_cast<int>(r);
  }
  if (read(root, "split", split, source)) {
    if (split != "train" && split != "val" && split != "test")
      throw_error<DataError>(source, ": \"split\" must be train, val or test, got \"", split, "\"");
    s.split = split == "train" ? Split::train : split == "val" ? Split::val : Split::test;
  }
  if (Vec3 up; read(root, "up", up.data(), 3, 3, source)) s.up = up;
  if (Mat4 m; read(root, "raw_to_world", m.data(), 16, 4, source)) s.raw_to_world = m;
  for (std::size_t i = 0; i < frames->size(); ++i) {
    const Json& frame = (*frames)[i];
    const std::string where = text(source, ": frame ", i);
    if (!frame.is_object()) throw_error<DataError>(where, ": must be an object, got ", frame.type_name());
    View v;
    v.camera = read_camera(frame, where);
    if (check == Check::all) check_camera(v.camera, where);
    read_view(frame, v, where);
    std::string image;
    if (!read(frame, "file_path", image, where) || image.empty())
      if (check == Check::all) throw_error<DataError>(where, " names no image (\"file_path\")");
    if (!read(frame, "raw_frame", s.raw_frame, where)) read(root, "raw_frame", s.raw_frame, source);
    s.views.push_back(std::move(v));
    out.images.push_back(std::move(image));
  }
  name_views(s, out.images);
  return out;
}

std::string sample_json(const Sample& s, const std::vector<std::string>& images, const std::vector<RecordingInfo>& recordings) {
  Json root{{"id", s.name}, {"frames", Json::array()}};
  if (s.recording >= 0) {
    MFL_CHECK(s.recording < static_cast<int>(recordings.size()), "sample ", s.name, ": recording ", s.recording, " of ", recordings.size());
    root["recording"] = recordings[s.recording].name;
  }
  if (s.split != Split::unassigned) root["split"] = name_of(s.split);
  if (s.up) root["up"] = row_of(s.up->data(), 3);
  if (s.raw_to_world) root["raw_to_world"] = matrix_of(s.raw_to_world->data(), 4, 4);
  for (std::size_t i = 0; i < s.views.size(); ++i) {
    const Camera& c = s.views[i].camera;
    Json j = json_of_view(s.views[i]);
    j["w"] = c.width, j["h"] = c.height;
    j["fx"] = c.fx, j["fy"] = c.fy, j["cx"] = c.cx, j["cy"] = c.cy;
    j["w2c"] = matrix_of(c.w2c.data(), 4, 4);
    j["file_path"] = images[i];
    if (s.raw_frame >= 0) j["raw_frame"] = s.raw_frame;
    root["frames"].push_back(std::move(j));
  }
  return dumped(root, 1) + "\n";
}

SetInfo parse_set_file(std::string_view json, const std::string& source) {
  const Json root = parsed(json, source);
  SetInfo info;
  const auto list = [&](const Json& from, const char* key) -> const Json& {
    static const Json kNone = Json::array();
    const auto it = from.find(key);
    if (it == from.end()) return kNone;
    if (!it->is_array()) throw_error<DataError>(source, ": \"", key, "\" must be a list, got ", it->type_name());
    return *it;
  };
  for (const Json& v : list(root, "ring_order")) {
    if (!v.is_number_integer() || v < 0 || v > 4095) throw_error<DataError>(source, ": \"ring_order\" must hold view numbers");
    info.ring_order.push_back(v.get<int>());
  }
  for (const Json& v : list(root, "slot_names")) {
    if (!v.is_string()) throw_error<DataError>(source, ": \"slot_names\" must hold texts");
    info.slot_names.push_back(v.get<std::string>());
  }
  for (const Json& r : list(root, "recordings")) {
    RecordingInfo one;
    if (!r.is_object() || !read(r, "name", one.name, source)) throw_error<DataError>(source, ": a recording must have a \"name\"");
    read(r, "frames", one.frames, source), read(r, "rate", one.rate, source);
    for (const Json& j : list(r, "jumps")) {
      if (!j.is_number_integer() || (!one.jumps.empty() && j.get<std::int64_t>() <= one.jumps.back()))
        throw_error<DataError>(source, ": the \"jumps\" of recording ", one.name, " must be ascending frame numbers");
      one.jumps.push_back(j.get<std::int64_t>());
    }
    for (const RecordingInfo& other : info.recordings)
      if (other.name == one.name) throw_error<DataError>(source, ": recording ", one.name, " comes twice");
    info.recordings.push_back(std::move(one));
  }
  if (const auto recipe = root.find("recipe"); recipe != root.end()) info.recipe = dumped(*recipe);
  return info;
}

std::string set_json(const SetInfo& info) {
  Json root = Json::object();
  root["ring_order"] = info.ring_order;
  root["slot_names"] = info.slot_names;
  root["recordings"] = Json::array();
  for (const RecordingInfo& r : info.recordings)
    root["recordings"].push_back({{"name", r.name}, {"frames", r.frames}, {"rate", r.rate}, {"jumps", r.jumps}});
  const Json recipe = Json::parse(info.recipe, nullptr, false);
  root["recipe"] = recipe.is_discarded() ? Json(info.recipe) : recipe;
  return dumped(root, 1) + "\n";
}

}  // namespace mfl::data
