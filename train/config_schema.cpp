#include "train/config_schema.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace mfl {

std::string config_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream content;
  if (!in || !(content << in.rdbuf()))
    throw_error<ConfigError>("cannot read the configuration ", path, ": there is no such file, it is empty, or it may not be read.");
  return content.str();
}

ConfigOverride parse_override(const std::string& s) {
  const std::size_t equals = s.find('=');
  if (equals == std::string::npos || equals == 0)
    throw_error<ConfigError>("--set ", s, ": expected KEY=VALUE, such as --set training.optimizer.lr=0.0001.");
  return {s.substr(0, equals), s.substr(equals + 1)};
}

std::string packed_path(const std::string& dataset_path) {
  const std::filesystem::path path = dataset_path.substr(0, dataset_path.find('#'));
  if (path.empty() || path.extension() == ".h5" || path.extension() == ".hdf5") return dataset_path;
  return std::filesystem::path(dataset_path).replace_extension(".h5").string();
}

}  // namespace mfl

namespace mfl::schema {

// ---- the file as dotted keys ----

Keys::Keys(const YAML::Node& root, std::string name, std::vector<std::string>& notes) : name_(std::move(name)), notes_(notes) {
  if (!root.IsMap()) throw_error<ConfigError>(name_, ": expected a mapping of keys such as model and training, or n_views.");
  flatten("", root);
}

void Keys::apply(const ConfigOverride& o) {
  YAML::Node value;
  try {
    const bool sequence = !o.value.empty() && o.value.front() == '[';
    value = sequence || o.value == "null" ? YAML::Load(o.value) : YAML::Node(o.value);
  } catch (const YAML::Exception& e) {
    throw_error<ConfigError>("--set ", o.key, ": \"", o.value, "\" is no sequence: ", e.what());
  }
  if (entries_.count(o.key) == 0) order_.push_back(o.key);
  entries_[o.key] = {o.key, value, "--set " + o.key};
}

void Keys::interpolate() {
  for (auto& [key, entry] : entries_) {
    if (!entry.value.IsScalar()) continue;
    const std::string s = entry.value.Scalar();
    if (!s.starts_with("${") || !s.ends_with("}")) continue;
    const auto it = entries_.find(s.substr(2, s.size() - 3));
    if (it == entries_.end() || (it->second.value.IsScalar() && it->second.value.Scalar().starts_with("${")))
      throw_error<ConfigError>(entry.where, ": ", key, " is ", s, ", but there is no key of that name with a value of its own.");
    entry.value = it->second.value;
  }
}

void Keys::rename(const std::string& from, const std::string& to) {
  const auto it = entries_.find(from);
  if (it == entries_.end()) return;
  Entry e = it->second;
  remove(from);
  if (entries_.contains(to)) throw_error<ConfigError>(e.where, ": ", from, " is another name of ", to, ", which is given too.");
  e.key = to;
  order_.push_back(to);
  entries_[to] = e;
}

void Keys::remove(const std::string& key) {
  if (entries_.erase(key)) order_.erase(std::find(order_.begin(), order_.end(), key));
}

const Entry* Keys::find(const std::string& key) const {
  const auto it = entries_.find(key);
  return it == entries_.end() || it->second.value.IsNull() ? nullptr : &it->second;
}
bool Keys::has_section(const std::string& prefix) const {
  const auto it = entries_.lower_bound(prefix + ".");
  return it != entries_.end() && it->first.starts_with(prefix + ".");
}

std::string Keys::place(const YAML::Node& n) const { return n.Mark().is_null() ? name_ : text(name_, ':', n.Mark().line + 1); }

void Keys::flatten(const std::string& prefix, const YAML::Node& node, int depth) {
  constexpr int kDeepest = 8;  // an alias may point to its own section
  for (const auto& item : node) {
    if (!item.first.IsScalar())
      throw_error<ConfigError>(place(item.first), ": a key must be a name, not a sequence or a mapping.");
    const std::string key = prefix.empty() ? item.first.Scalar() : prefix + "." + item.first.Scalar();
    if (item.second.IsMap()) {
      if (depth == kDeepest) throw_error<ConfigError>(place(item.first), ": ", key, " is nested too deeply.");
      flatten(key, item.second, depth + 1);
      continue;
    }
    const Entry e{key, item.second, place(item.first)};
    const auto [it, fresh] = entries_.insert({key, e});
    if (fresh) {
      order_.push_back(key);
    } else {
      notes_.push_back(text(e.where, ": ", key, " is given twice; the later value holds (the earlier one is at ",
                            it->second.where, ")."));
      it->second = e;
    }
  }
}

bool is_stage_one(const Keys& keys) {
  if (keys.has_section("model")) return false;
  for (const char* mark : {"pretrained_model_name_or_path", "pretrained_unet_path", "n_views", "train_batch_size"})
    if (keys.given(mark)) return true;
  return false;
}

void with_keys(const std::string& yaml, const std::string& name, const std::vector<ConfigOverride>& overrides,
               std::vector<std::string>& notes, const std::function<void(Keys&)>& read) {
  try {
    Keys keys(YAML::Load(yaml), name, notes);
    for (const ConfigOverride& o : overrides) keys.apply(o);
    keys.interpolate();
    read(keys);
  } catch (const YAML::Exception& e) {
    throw_error<ConfigError>(name, ':', e.mark.line + 1, ": this is not YAML: ", e.msg, '.');
  }
}

// ---- values ----

std::string shown(const YAML::Node& n) {
  if (n.IsScalar()) return '"' + n.Scalar() + '"';
  if (n.IsNull()) return "nothing";
  YAML::Emitter out;
  out << YAML::Flow << n;
  return out.good() ? out.c_str() : "a sequence";
}
[[noreturn]] void wrong_type(const Entry& e, const char* expected) {
  throw_error<ConfigError>(e.where, ": ", e.key, " must be ", expected, ", not ", shown(e.value), '.');
}
// The text of an unquoted scalar: in YAML, quotes make a string of it.
const std::string& plain(const Entry& e, const YAML::Node& n, const char* expected) {
  if (!n.IsScalar() || n.Tag() == "!") wrong_type(e, expected);
  return n.Scalar();
}

void convert(const Entry& e, const YAML::Node& n, bool& to) {
  constexpr const char* kExpected = "true or false";
  const std::string& s = plain(e, n, kExpected);
  static const std::map<std::string, bool> kWords = {
      {"true", true}, {"True", true}, {"TRUE", true},   {"yes", true},    {"Yes", true},
      {"on", true},   {"On", true},   {"false", false}, {"False", false}, {"FALSE", false},
      {"no", false},  {"No", false},  {"off", false},   {"Off", false}};
  const auto it = kWords.find(s);
  if (it == kWords.end()) wrong_type(e, kExpected);
  to = it->second;
}
void convert(const Entry& e, const YAML::Node& n, double& to) {
  constexpr const char* kExpected = "a finite number";
  const std::string& s = plain(e, n, kExpected);
  const char* first = s.data() + (s.starts_with('+') ? 1 : 0);
  const char* last = s.data() + s.size();
  const auto [end, error] = std::from_chars(first, last, to);
  if (error != std::errc{} || end != last || !std::isfinite(to)) wrong_type(e, kExpected);
}
void convert(const Entry& e, const YAML::Node& n, std::string& to) {
  if (!n.IsScalar()) wrong_type(e, "a string");
  to = n.Scalar();
}

// ---- rules ----

namespace {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replace = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replace});
    }
  }
  return row[b.size()];
}
std::string_view leaf_of(std::string_view key) { return key.substr(key.rfind('.') + 1); }  // npos + 1 == 0

// By edits of the whole key, or of its last part when the section is wrong (which counts as three edits).
std::string nearest(const std::string& key, const std::vector<std::string>& known) {
  std::string best;
  std::size_t best_distance = SIZE_MAX;
  for (const std::string& k : known) {
    const std::size_t d = std::min(edit_distance(key, k), 3 + 2 * edit_distance(leaf_of(key), leaf_of(k)));
    if (d < best_distance) best_distance = d, best = k;
  }
  return best;
}

bool is_dead(const std::string& key, const std::vector<std::string>& dead) {
  return std::any_of(dead.begin(), dead.end(), [&](const std::string& d) {
    return d.ends_with(".*") ? key.starts_with(d.substr(0, d.size() - 1)) : key == d;
  });
}

}  // namespace

void refuse_unknown(const Keys& keys, const std::vector<std::string>& known, const std::vector<std::string>& dead_keys,
                    std::vector<std::string>& notes) {
  std::string dead;
  for (const std::string& key : keys.order()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    if (is_dead(key, dead_keys)) {
      dead += (dead.empty() ? "" : ", ") + key;
      continue;
    }
    const Entry& e = keys.at(key);
    const auto inside =
        std::find_if(known.begin(), known.end(), [&](const std::string& k) { return key.starts_with(k + "."); });
    if (inside != known.end())
      throw_error<ConfigError>(e.where, ": ", *inside, " takes a value, not a section with the key ", leaf_of(key),
                               '.');
    const auto below =
        std::find_if(known.begin(), known.end(), [&](const std::string& k) { return k.starts_with(key + "."); });
    if (below != known.end()) {
      if (e.value.IsNull()) continue;  // an empty section
      throw_error<ConfigError>(e.where, ": ", key, " is a section (with keys such as ", *below, "), not the value ",
                               shown(e.value), '.');
    }
    throw_error<ConfigError>(e.where, ": ", key, " is a key that nobody reads. The nearest known key is ",
                             nearest(key, known), '.');
  }
  if (!dead.empty())
    notes.push_back(text(keys.name(), ": ignored, as the published code never reads them: ", dead, '.'));
}

void refuse_missing(const Keys& keys, const std::vector<std::string>& required) {
  std::string missing;
  for (const std::string& key : required)
    if (keys.find(key) == nullptr) missing += (missing.empty() ? "" : ", ") + key;
  if (!missing.empty()) throw_error<ConfigError>(keys.name(), ": these keys are required and missing: ", missing, '.');
}

void check_background(const Rules& r, const char* key, const std::string& color) {
  for (const char* name : {"white", "black", "gray", "random", "three_choices"})
    if (color == name) return;
  double level = -1;
  const auto [end, error] = std::from_chars(color.data(), color.data() + color.size(), level);
  r.require(error == std::errc{} && end == color.data() + color.size() && level >= 0 && level <= 1, key,
            "must be white, black, gray, random, three_choices or a number in [0, 1], not \"", color, "\".");
}

void check_device(const Rules& r, const char* key, const std::string& d) {
  const bool cuda_index = d.starts_with("cuda:") && d.size() > 5 && d.find_first_not_of("0123456789", 5) == std::string::npos;
  r.require(d == "auto" || d == "cpu" || d == "cuda" || cuda_index, key, "must be auto, cpu, cuda or cuda:N, not \"", d, "\".");
}

}  // namespace mfl::schema
