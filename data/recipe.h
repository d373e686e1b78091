// The recipe of a packed file: JSON that says what made it, from what, with which options.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/scenes.h"

namespace mfl::data {

// Of `mfl_data scenes`.
std::string scenes_recipe(const SceneOptions&, std::int64_t first);

// Of `mfl_data pack`.
struct PackRecipe {
  int image_size = 0;
  std::string inputs;                              // as PackOptions::inputs
  std::vector<std::string> sources, left_out;      // sample folders; names
  std::string sets;                                // recipes_together of the sets' own
};
std::string recipe_of(const PackRecipe&);

// Several recipes as one JSON array; the empty one, "{}", is left out.
std::string recipes_together(const std::vector<std::string>& recipes);

// Of a list of packed files: an array of path, content hash and recipe.
struct FileRecipe {
  std::string path, content_hash, recipe;
};
std::string recipe_of(const std::vector<FileRecipe>&);

// What a reader of a recipe asks for; empty where it does not say.
std::string tool_of(const std::string& recipe);
std::vector<std::string> left_out_of(const std::string& recipe);  // of a PackRecipe

}  // namespace mfl::data
