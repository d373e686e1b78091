#include "train/return_points.h"

#include <algorithm>

#include "runtime/log.h"

namespace mfl {

namespace fs = std::filesystem;

void ReturnPoints::add(std::int64_t pass, fs::path path, bool own) {
  std::erase_if(points_, [&](const Point& p) { return p.path == path; });
  points_.push_back({pass, std::move(path), own});
  std::stable_sort(points_.begin(), points_.end(), [](const Point& a, const Point& b) { return a.pass < b.pass; });
}

std::vector<fs::path> ReturnPoints::sound(std::int64_t before) const {
  std::vector<fs::path> found;
  std::error_code none;
  for (auto p = points_.rbegin(); p != points_.rend(); ++p)
    if (p->pass < before && fs::exists(p->path, none)) found.push_back(p->path);
  return found;
}

int ReturnPoints::set_aside(std::int64_t pass) {
  int count = 0;
  std::erase_if(points_, [&](const Point& p) {
    std::error_code failed;
    if (p.pass <= pass || !p.own || !fs::exists(p.path, failed)) return p.pass > pass;
    fs::path away = p.path;
    away += ".unsound";
    fs::remove_all(away, failed);
    fs::rename(p.path, away, failed);
    if (failed) log_warning(p.path.string(), " holds a state that led nowhere, and cannot be renamed: ", failed.message(), ". Remove it, or the next start takes it.");
    else ++count;
    return true;
  });
  return count;
}

}  // namespace mfl
