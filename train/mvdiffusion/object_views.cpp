#include "train/mvdiffusion/object_views.h"

#include <algorithm>
#include <numeric>

namespace mfl {

ObjectViews object_views(const data::ViewReader& r, std::int64_t sample, int count) {
  ObjectViews o;
  for (int v = 0; v < r.views(sample) && static_cast<int>(o.views.size()) < count; ++v)
    if (r.role(sample, v) != data::Role::input) o.views.push_back(v);
  if (static_cast<int>(o.views.size()) < count)
    throw_error<DataError>(r.path(), ": sample ", r.sample_name(sample), " has ", o.views.size(), " views, expected ", count,
                           ". Leave it out, or pack it again with all of its cameras.");
  for (int v : o.views) o.prompt_slots.push_back(r.prompt_slot(sample, v));
  if (std::all_of(o.prompt_slots.begin(), o.prompt_slots.end(), [](int s) { return s < 0; }))
    std::iota(o.prompt_slots.begin(), o.prompt_slots.end(), 0);
  for (int v : r.file(r.file_of(sample)).ring_order)
    if (const auto at = std::find(o.views.begin(), o.views.end(), v); at != o.views.end())
      o.ring.push_back(static_cast<int>(at - o.views.begin()));
  return o;
}

}  // namespace mfl
