#include "models/mvdiffusion/json_config.h"

#include <nlohmann/json.hpp>

#include "runtime/error.h"
#include "runtime/io/byte_source.h"
#include "runtime/io/nearest_name.h"

namespace mfl::mvdiffusion {

using nlohmann::json;

struct JsonConfig::Impl {
  std::string name;
  json root;

  const json& at(std::string_view key) const {
    const auto found = root.find(std::string(key));
    if (found != root.end() && !found->is_null()) return *found;
    std::vector<std::string> names;
    for (const auto& item : root.items()) names.push_back(item.key());
    const std::string near = io::nearest_name(key, names);
    throw_error<DataError>(name, ": \"", key, "\" is missing", near.empty() ? "" : text("; the nearest key is \"", near, "\""),
                           ".");
  }
  [[noreturn]] void wrong(std::string_view key, const json& value, const char* expected) const {
    // A container may be nested without bound; printing it would recurse.
    std::string shown = value.is_structured() ? value.is_array() ? "a list" : "an object"
                                              : value.dump(-1, ' ', false, json::error_handler_t::replace);
    if (shown.size() > 80) shown = shown.substr(0, 77) + "...";
    throw_error<DataError>(name, ": \"", key, "\" is ", shown, ", expected ", expected, ".");
  }
};

namespace {
constexpr std::uint64_t kMaxBytes = std::uint64_t{16} << 20;
}

JsonConfig JsonConfig::parse(std::string_view bytes, std::string name) {
  auto impl = std::make_shared<Impl>();
  impl->name = std::move(name);
  impl->root = json::parse(bytes, nullptr, /*allow_exceptions=*/false);
  if (impl->root.is_discarded()) throw_error<DataError>(impl->name, " is not JSON.");
  if (!impl->root.is_object()) throw_error<DataError>(impl->name, " holds no JSON object.");
  JsonConfig config;
  config.impl_ = std::move(impl);
  return config;
}

JsonConfig JsonConfig::read(const std::filesystem::path& path) {
  const io::Source file = io::open_file(path);
  if (file->size() > kMaxBytes) throw_error<DataError>(path.string(), " has ", file->size(), " bytes: no configuration.");
  const std::vector<std::byte> bytes = file->read(0, file->size());
  return parse({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path.string());
}

const std::string& JsonConfig::name() const { return impl_->name; }
std::vector<std::string> JsonConfig::keys() const {
  std::vector<std::string> names;
  for (const auto& item : impl_->root.items()) names.push_back(item.key());
  return names;
}
bool JsonConfig::has(std::string_view key) const {
  const auto found = impl_->root.find(std::string(key));
  return found != impl_->root.end() && !found->is_null();
}

std::int64_t JsonConfig::integer(std::string_view key) const {
  const json& v = impl_->at(key);
  if (!v.is_number_integer()) impl_->wrong(key, v, "a whole number");
  return v.get<std::int64_t>();
}
double JsonConfig::number(std::string_view key) const {
  const json& v = impl_->at(key);
  if (!v.is_number()) impl_->wrong(key, v, "a number");
  return v.get<double>();
}
bool JsonConfig::boolean(std::string_view key) const {
  const json& v = impl_->at(key);
  if (!v.is_boolean()) impl_->wrong(key, v, "true or false");
  return v.get<bool>();
}
std::string JsonConfig::string(std::string_view key) const {
  const json& v = impl_->at(key);
  if (!v.is_string()) impl_->wrong(key, v, "a text");
  return v.get<std::string>();
}
std::vector<std::int64_t> JsonConfig::integers(std::string_view key) const {
  const json& v = impl_->at(key);
  if (v.is_number_integer()) return {v.get<std::int64_t>()};
  if (!v.is_array()) impl_->wrong(key, v, "a list of whole numbers");
  std::vector<std::int64_t> list;
  for (const json& e : v) {
    if (!e.is_number_integer()) impl_->wrong(key, v, "a list of whole numbers");
    list.push_back(e.get<std::int64_t>());
  }
  return list;
}
std::vector<std::string> JsonConfig::strings(std::string_view key) const {
  const json& v = impl_->at(key);
  if (v.is_string()) return {v.get<std::string>()};
  if (!v.is_array()) impl_->wrong(key, v, "a list of texts");
  std::vector<std::string> list;
  for (const json& e : v) {
    // model_index.json writes [null, null] for a component that was left out.
    if (!e.is_string() && !e.is_null()) impl_->wrong(key, v, "a list of texts");
    list.push_back(e.is_null() ? std::string() : e.get<std::string>());
  }
  return list;
}

void JsonConfig::require(std::string_view key, std::string_view fallback, std::string_view expected) const {
  const std::string value = string(key, std::string(fallback));
  if (value != expected)
    throw_error<DataError>(name(), ": \"", key, "\" is \"", value, "\", expected \"", expected, "\"; nothing else is implemented.");
}
void JsonConfig::require_flag(std::string_view key, bool fallback, bool expected) const {
  const bool value = boolean(key, fallback);
  if (value != expected)
    throw_error<DataError>(name(), ": \"", key, "\" is ", value ? "true" : "false", ", expected ", expected ? "true" : "false",
                           "; nothing else is implemented.");
}
std::int64_t JsonConfig::integer_in(std::string_view key, std::int64_t low, std::int64_t high) const {
  const std::int64_t value = integer(key);
  if (value < low || value > high)
    throw_error<DataError>(name(), ": \"", key, "\" is ", value, ", expected ", low, " to ", high, ".");
  return value;
}

}  // namespace mfl::mvdiffusion
