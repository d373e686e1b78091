#include "data/recipe.h"

#include <nlohmann/json.hpp>

namespace mfl::data {
namespace {

using Json = nlohmann::json;

// A recipe may be any text: foreign files have them too.
Json value_of(const std::string& recipe) {
  Json j = Json::parse(recipe, nullptr, false);
  return j.is_discarded() ? Json(recipe) : j;
}
std::string dumped(const Json& j) { return j.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace

std::string scenes_recipe(const SceneOptions& o, std::int64_t first) {
  return dumped({{"tool", "mfl_data scenes"}, {"seed", o.seed}, {"first", first}, {"views", o.views},
                 {"image_size", o.image_size}, {"elevation", o.elevation_degrees}});
}

std::string recipe_of(const PackRecipe& r) {
  Json j{{"tool", "mfl_data pack"}, {"image_size", r.image_size}, {"resample", "lanczos3 of 8-bit premultiplied RGBA"},
         {"left_out", r.left_out}, {"sources", r.sources}, {"sets", value_of(r.sets)}};
  if (!r.inputs.empty()) j["inputs"] = r.inputs;
  return dumped(j);
}

std::string recipes_together(const std::vector<std::string>& recipes) {
  Json all = Json::array();
  for (const std::string& r : recipes)
    if (r != "{}") all.push_back(value_of(r));
  return dumped(all);
}

std::string recipe_of(const std::vector<FileRecipe>& files) {
  Json all = Json::array();
  for (const FileRecipe& f : files) all.push_back({{"path", f.path}, {"content_sha256", f.content_hash}, {"recipe", value_of(f.recipe)}});
  return dumped(all);
}

std::string tool_of(const std::string& recipe) {
  const Json j = value_of(recipe);
  const auto tool = j.is_object() ? j.find("tool") : j.end();
  return tool != j.end() && tool->is_string() ? tool->get<std::string>() : "";
}

std::vector<std::string> left_out_of(const std::string& recipe) {
  const Json j = value_of(recipe);
  std::vector<std::string> names;
  if (const auto list = j.is_object() ? j.find("left_out") : j.end(); list != j.end() && list->is_array())
    for (const Json& name : *list)
      if (name.is_string()) names.push_back(name.get<std::string>());
  return names;
}

}  // namespace mfl::data
