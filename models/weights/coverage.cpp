#include "models/weights/coverage.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <unordered_map>
#include <unordered_set>

#include "kernels/elementwise/cast.h"
#include "runtime/io/nearest_name.h"
#include "runtime/log.h"

namespace mfl::weights {
namespace {

// "transformer_layers.3.norm1.weight" -> "transformer_layers.*.norm1.weight": 24 equal lines become one.
std::string pattern_of(const std::string& name) {
  std::string pattern;
  for (std::size_t i = 0; i < name.size();) {
    const std::size_t end = std::min(name.find('.', i), name.size());
    const bool number = end > i && std::all_of(name.begin() + static_cast<std::ptrdiff_t>(i),
                                               name.begin() + static_cast<std::ptrdiff_t>(end),
                                               [](unsigned char c) { return std::isdigit(c); });
    if (!pattern.empty()) pattern += '.';
    if (number)
      pattern += '*';
    else
      pattern.append(name, i, end - i);
    i = end + 1;
  }
  return pattern;
}

void list_groups(std::ostringstream& out, const char* title, const std::vector<std::string>& names, std::size_t lines) {
  if (names.empty()) return;
  std::map<std::string, std::vector<std::string>> groups;
  for (const std::string& n : names) groups[pattern_of(n)].push_back(n);
  out << "\n  " << title << ' ' << names.size() << ':';
  std::size_t shown = 0;
  for (const auto& [pattern, members] : groups) {
    if (shown++ == lines) {
      out << "\n    and " << groups.size() - lines << " more kinds";
      break;
    }
    out << "\n    " << (members.size() == 1 ? members[0] : text(pattern, "  (", members.size(), ")"));
  }
}

// Little matched: is there one prefix that the file has in front of, or lacks from, the wanted names?
std::string prefix_hint(const ParamStore& store, const std::vector<std::string>& found) {
  std::unordered_set<std::string_view> wanted;
  for (const Param& p : store.all()) wanted.insert(p.name);
  std::map<std::string, std::size_t> extra, lacking;
  std::unordered_set<std::string_view> in_file(found.begin(), found.end());
  for (const std::string& n : found)
    for (std::size_t dot = n.find('.'); dot != std::string::npos; dot = n.find('.', dot + 1))
      if (wanted.count(std::string_view(n).substr(dot + 1))) ++extra[n.substr(0, dot + 1)];
  for (const Param& p : store.all())
    for (std::size_t dot = p.name.find('.'); dot != std::string::npos; dot = p.name.find('.', dot + 1))
      if (in_file.count(std::string_view(p.name).substr(dot + 1))) ++lacking[p.name.substr(0, dot + 1)];
  auto best = [](const std::map<std::string, std::size_t>& counts) {
    return std::max_element(counts.begin(), counts.end(),
                            [](const auto& a, const auto& b) { return a.second < b.second; });
  };
  if (!extra.empty() && best(extra)->second * 2 >= wanted.size())
    return text("The file's names have \"", best(extra)->first, "\" in front; without it ", best(extra)->second, " of ",
                wanted.size(), " match.");
  if (!lacking.empty() && best(lacking)->second * 2 >= wanted.size())
    return text("The file's names lack \"", best(lacking)->first, "\" in front; with it ", best(lacking)->second,
                " of ", wanted.size(), " match.");
  if (found.empty()) return "The file holds no tensors.";
  const std::string& first = store.all().front().name;
  const std::string near = io::nearest_name(first, found);
  return text("The file is of another model, or of another part of it: it has ", found.size(), " tensors, such as \"",
              found[0], "\"", near.empty() ? "" : text("; nearest to \"", first, "\" is \"", near, "\""), ".");
}

}  // namespace

std::string Coverage::table(std::size_t lines) const {
  const std::size_t wanted = loaded.size() + missing.size() + wrong_shape.size();
  std::ostringstream out;
  out << source << ": " << loaded.size() << " of " << wanted << " tensors match (" << loaded_numel << " of "
      << wanted_numel << " values); missing " << missing.size() << ", wrong shape " << wrong_shape.size()
      << ", unexpected " << unexpected.size() << '.';
  if (!hint.empty()) out << ' ' << hint;
  list_groups(out, "missing", missing, lines);
  std::size_t shown = 0;
  if (!wrong_shape.empty()) out << "\n  wrong shape " << wrong_shape.size() << ':';
  for (const WrongShape& w : wrong_shape) {
    if (shown++ == lines) {
      out << "\n    and " << wrong_shape.size() - lines << " more";
      break;
    }
    out << "\n    " << w.name << ": the file has " << w.found << ", the model needs " << w.wanted;
  }
  list_groups(out, "unexpected", unexpected, lines);
  return out.str();
}

Coverage compare(const ParamStore& store, const io::WeightFile& file) {
  std::unordered_map<std::string_view, const io::StoredTensor*> by_name;
  for (const io::NamedStored& t : file.tensors) by_name[t.name] = &t.tensor;
  Coverage c;
  c.source = file.path;
  std::unordered_set<std::string_view> wanted;
  for (const Param& p : store.all()) {
    wanted.insert(p.name);
    c.wanted_numel += p.numel();
    const auto found = by_name.find(p.name);
    if (found == by_name.end()) {
      c.missing.push_back(p.name);
    } else if (!(found->second->shape == p.shape)) {
      c.wrong_shape.push_back({p.name, p.shape, found->second->shape});
    } else {
      c.loaded.push_back(p.name);
      c.loaded_numel += p.numel();
    }
  }
  std::vector<std::string> found;
  for (const io::NamedStored& t : file.tensors) {
    found.push_back(t.name);
    if (!wanted.count(t.name)) c.unexpected.push_back(t.name);
  }
  if (!store.all().empty() && c.loaded.size() * 10 < store.all().size()) c.hint = prefix_hint(store, found);
  return c;
}

void require_complete(const Coverage& c, const std::vector<std::string>& allow_missing) {
  const bool allowed = std::all_of(c.missing.begin(), c.missing.end(), [&](const std::string& name) {
    return std::any_of(allow_missing.begin(), allow_missing.end(),
                       [&](const std::string& p) { return name.starts_with(p); });
  });
  if (allowed && c.wrong_shape.empty()) return;
  throw_error<DataError>(c.table(), "\n  Nothing was loaded. ",
                         c.wrong_shape.empty()
                             ? "If names may be missing, give their beginnings in mfl.allow_missing."
                             : "The shapes follow from the configuration's model section: is it the file's?");
}

void load_parameter(const Stream& stream, const Param& p, const io::StoredTensor& t, std::string_view what) {
  io::StoredTensor same = t;
  if (!(t.shape == p.shape)) {
    // Equal without the axes of one element: their strides do not matter.
    std::vector<std::int64_t> a, b, stride;
    for (int i = 0; i < t.shape.rank(); ++i)
      if (t.shape[i] != 1) a.push_back(t.shape[i]), stride.push_back(t.stride[i]);
    for (std::int64_t n : p.shape)
      if (n != 1) b.push_back(n);
    if (a != b) throw_error<DataError>(what, " has shape ", t.shape, ", but ", p.name, " is ", p.shape, ".");
    same.shape = p.shape;
    same.stride = p.shape;
    for (int i = 0, k = 0; i < p.shape.rank(); ++i)
      same.stride[i] = p.shape[i] == 1 ? 0 : stride[static_cast<std::size_t>(k++)];
  }
  if (p.channel_last) {
    const Shape stride = same.stride;
    same.shape = p.memory_shape(), same.stride = {stride[0], stride[2], stride[3], stride[1]};
  }
  const Tensor& into = p.value ? p.value : p.compute;
  if (into.device().is_cpu()) return io::read(same, into, what);
  const Tensor host = io::load(same, into.dtype(), what);
  copy(stream, host, into);
  stream.synchronize();
}

Coverage load_parameters(const Stream& stream, ParamStore& store, const io::WeightFile& file,
                         const LoadOptions& options) {
  Coverage c = compare(store, file);
  require_complete(c, options.allow_missing);
  if (options.log) log_info(c.table());
  std::unordered_map<std::string_view, const io::StoredTensor*> by_name;
  for (const io::NamedStored& t : file.tensors) by_name[t.name] = &t.tensor;
  for (const std::string& name : c.loaded) load_parameter(stream, *store.find(name), *by_name.at(name), name);
  refresh_compute(stream, store);
  stream.synchronize();
  return c;
}

void refresh_compute(const Stream& stream, const ParamStore& store) {
  if (store.precision().compute == store.precision().accum) return;
  if (store.has_masters()) return cast(stream, {.x = store.values(), .y = store.computes()});
  for (const Param& p : store.all())
    if (p.value) cast(stream, {.x = p.value, .y = p.compute});
}

Param slice_of(const Tensor& flat, const Param& p) {
  Param slice = p;
  slice.value = flat.rows(p.first, p.numel()).reshape(p.memory_shape());
  return slice;
}

io::NamedStored published(const Param& p, const Tensor& host) { return published(p, io::stored(host)); }
io::NamedStored published(const Param& p, const io::StoredTensor& in_memory) {
  MFL_CHECK(in_memory.shape == p.memory_shape(), p.name, ": values of ", in_memory.shape, ", expected ", p.memory_shape());
  if (!p.channel_last) return {p.name, in_memory};
  io::StoredTensor t = in_memory;
  const Shape stride = t.stride;   // of [O, KH, KW, I]
  t.shape = p.shape, t.stride = {stride[0], stride[3], stride[1], stride[2]};
  return {p.name, io::row_major(std::move(t))};
}

}  // namespace mfl::weights
