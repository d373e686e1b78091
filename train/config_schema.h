// Reading a YAML file into a typed configuration. A schema is a function template that names every key once:
//
//   template <class Visitor, class Config>
//   void visit_keys(Visitor& v, Config& c) { v("training.optimizer.lr", c.training.optimizer.lr, kRequired); ... }
//
// Visitors list the names, read a file and write the merged one. Included by the files that hold a schema only.
#pragma once

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <array>
#include <charconv>
#include <cmath>
#include <functional>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/error.h"
#include "train/config_override.h"

namespace mfl::schema {

inline constexpr bool kRequired = true;

// ---- the file as dotted keys ----

struct Entry {
  std::string key;
  YAML::Node value;   // scalar, sequence or null
  std::string where;  // "gslrm.yaml:12" or "--set training.optimizer.lr"
};

class Keys {
 public:
  // Throws ConfigError: no mapping, a key that is no name, nested too deeply.
  Keys(const YAML::Node& root, std::string name, std::vector<std::string>& notes);

  void apply(const ConfigOverride&);
  // A value that is ${key} takes that key's value, as OmegaConf has it. Throws ConfigError where there is no such key.
  void interpolate();
  // Another name for a key; `from` is gone afterwards.
  void rename(const std::string& from, const std::string& to);
  void remove(const std::string& key);

  const Entry* find(const std::string& key) const;   // null: not there, or a null value
  bool given(const std::string& key) const { return entries_.contains(key); }
  const std::vector<std::string>& order() const { return order_; }
  const Entry& at(const std::string& key) const { return entries_.at(key); }
  bool has_section(const std::string& prefix) const;
  const std::string& name() const { return name_; }

 private:
  std::string place(const YAML::Node&) const;
  void flatten(const std::string& prefix, const YAML::Node&, int depth = 0);

  std::string name_;
  std::vector<std::string>& notes_;
  std::map<std::string, Entry> entries_;
  std::vector<std::string> order_;  // of the file
};

// A file of FaceLift's first stage, MVDiffusion: flat keys, and no section `model`.
bool is_stage_one(const Keys&);

// Parses, applies the overrides, interpolates, and calls `read`. What yaml-cpp throws becomes a ConfigError with the line.
void with_keys(const std::string& yaml, const std::string& name, const std::vector<ConfigOverride>&, std::vector<std::string>& notes,
               const std::function<void(Keys&)>& read);

// ---- values ----

std::string shown(const YAML::Node&);
[[noreturn]] void wrong_type(const Entry&, const char* expected);
// The text of an unquoted scalar: in YAML, quotes make a string of it.
const std::string& plain(const Entry&, const YAML::Node&, const char* expected);

void convert(const Entry&, const YAML::Node&, bool&);
void convert(const Entry&, const YAML::Node&, double&);
void convert(const Entry&, const YAML::Node&, std::string&);
template <class Int>
requires std::is_integral_v<Int>
void convert(const Entry& e, const YAML::Node& n, Int& to) {
  const std::string& s = plain(e, n, "an integer");
  const char* first = s.data() + (s.starts_with('+') ? 1 : 0);
  const char* last = s.data() + s.size();
  const auto [end, error] = std::from_chars(first, last, to);
  if (error == std::errc::result_out_of_range) wrong_type(e, "an integer of usual size");
  if (error != std::errc{} || end != last) wrong_type(e, "an integer");
}
template <class T>
void convert(const Entry& e, const YAML::Node& n, std::optional<T>& to) {
  convert(e, n, to.emplace());
}
template <class T>
void convert(const Entry& e, const YAML::Node& n, std::vector<T>& to) {   // a single value is a list of one
  to.clear();
  if (!n.IsSequence()) {
    convert(e, n, to.emplace_back());
    return;
  }
  for (const YAML::Node& item : n) convert(e, item, to.emplace_back());
}
template <std::size_t N>
void convert(const Entry& e, const YAML::Node& n, std::array<double, N>& to) {
  if (!n.IsSequence() || n.size() != N) wrong_type(e, N == 2 ? "two numbers [low, high]" : "three numbers [r, g, b]");
  for (std::size_t i = 0; i < N; ++i) convert(e, n[i], to[i]);
}

// ---- visitors ----

struct Names {
  std::vector<std::string> all, required;
  template <class T>
  void operator()(const char* key, const T&, bool is_required = false) {
    all.push_back(key);
    if (is_required) required.push_back(key);
  }
};

struct Reader {
  const Keys& keys;
  template <class T>
  void operator()(const char* key, T& member, bool = false) {
    if (const Entry* e = keys.find(key)) convert(*e, e->value, member);
  }
};

struct Writer {
  std::string out;
  std::vector<std::string> open;  // sections that the last line is in

  static std::string quoted(const std::string& s) {
    YAML::Emitter e;
    e << YAML::DoubleQuoted << s;
    return e.c_str();
  }
  static std::string value(bool x) { return x ? "true" : "false"; }
  static std::string value(const std::string& x) { return quoted(x); }
  template <class Int>
  requires std::is_integral_v<Int>
  static std::string value(Int x) { return fmt::format("{}", x); }
  // The shortest text that reads back as the same double. YAML 1.1, which Python reads, wants a point before an
  // exponent.
  static std::string value(double x) {
    std::string s = fmt::format("{}", x);
    if (s.find('.') == std::string::npos) s.insert(std::min(s.find('e'), s.size()), ".0");
    return s;
  }
  template <class Range>
  requires requires(const Range& r) { r.begin(); }
  static std::string value(const Range& items) {
    std::string s = "[";
    for (const auto& item : items) s += (s.size() > 1 ? ", " : "") + value(item);
    return s + "]";
  }

  template <class T>
  void operator()(const char* key, const std::optional<T>& member, bool = false) {
    if (member) (*this)(key, *member);
  }
  template <class T>
  void operator()(const char* key, const T& member, bool = false) {
    std::vector<std::string> parts;
    std::istringstream in(key);
    for (std::string part; std::getline(in, part, '.');) parts.push_back(part);
    std::size_t same = 0;
    while (same < open.size() && same + 1 < parts.size() && open[same] == parts[same]) ++same;
    for (std::size_t i = same; i + 1 < parts.size(); ++i) out += std::string(2 * i, ' ') + parts[i] + ":\n";
    open.assign(parts.begin(), parts.end() - 1);
    out += std::string(2 * open.size(), ' ') + parts.back() + ": " + value(member) + '\n';
  }
};

// ---- rules ----

// Throws ConfigError for a key that nobody reads, naming the nearest one that somebody does; keys of `dead`, which the
// published code never reads, are named in one note. "camera.*" in `dead` is a whole section.
void refuse_unknown(const Keys&, const std::vector<std::string>& known, const std::vector<std::string>& dead,
                    std::vector<std::string>& notes);
// Throws ConfigError that lists all of `required` that are missing.
void refuse_missing(const Keys&, const std::vector<std::string>& required);

class Rules {
 public:
  explicit Rules(const Keys& keys) : keys_(keys) {}
  template <class... P>
  void require(bool ok, const char* key, const P&... sentence) const {
    if (ok) return;
    const Entry* e = keys_.find(key);
    throw_error<ConfigError>(e ? e->where : keys_.name(), ": ", key, ' ', sentence...);
  }
  void given(const char* key, const char* why) const {
    if (keys_.find(key) == nullptr) throw_error<ConfigError>(keys_.name(), ": ", key, " is missing; ", why, '.');
  }
  void one_of(const char* key, const std::string& value, std::initializer_list<const char*> allowed) const {
    std::string list;
    for (const char* a : allowed) {
      if (value == a) return;
      list += (list.empty() ? "" : ", ") + std::string(a);
    }
    require(false, key, "must be one of ", list, ", not \"", value, "\".");
  }

 private:
  const Keys& keys_;
};

// white, black, gray, random, three_choices or a number in [0, 1].
void check_background(const Rules&, const char* key, const std::string& color);
// auto, cpu, cuda or cuda:N.
void check_device(const Rules&, const char* key, const std::string& device);

}  // namespace mfl::schema
