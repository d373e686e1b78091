#include "runtime/io/value.h"

#include "runtime/io/nearest_name.h"

namespace mfl::io {

const char* name_of(Value::Kind k) {
  switch (k) {
    case Value::Kind::none:
      return "None";
    case Value::Kind::boolean:
      return "a boolean";
    case Value::Kind::integer:
      return "an integer";
    case Value::Kind::real:
      return "a real number";
    case Value::Kind::string:
      return "a string";
    case Value::Kind::bytes:
      return "bytes";
    case Value::Kind::list:
      return "a list";
    case Value::Kind::tuple:
      return "a tuple";
    case Value::Kind::dict:
      return "a dictionary";
    case Value::Kind::tensor:
      return "a tensor";
    case Value::Kind::object:
      return "an object";
  }
  return "?";
}

Value Value::bytes(std::vector<std::byte> b) {
  Value v;
  v.data_ = std::make_shared<const std::vector<std::byte>>(std::move(b));
  return v;
}
Value Value::list(std::vector<Value> items) {
  Value v;
  v.data_ = std::make_shared<Sequence>(Sequence{std::move(items), false});
  return v;
}
Value Value::tuple(std::vector<Value> items) {
  Value v;
  v.data_ = std::make_shared<Sequence>(Sequence{std::move(items), true});
  return v;
}
Value Value::dict() {
  Value v;
  v.data_ = std::make_shared<Dict>(Dict{{}, {}, false});
  return v;
}
Value Value::ordered_dict() {
  Value v;
  v.data_ = std::make_shared<Dict>(Dict{{}, {}, true});
  return v;
}
Value Value::object(std::shared_ptr<Object> o) {
  Value v;
  v.data_ = std::move(o);
  return v;
}

Value::Kind Value::kind() const {
  switch (data_.index()) {
    case 0:
      return Kind::none;
    case 1:
      return Kind::boolean;
    case 2:
      return Kind::integer;
    case 3:
      return Kind::real;
    case 4:
      return Kind::string;
    case 5:
      return Kind::bytes;
    case 6:
      return std::get<6>(data_)->is_tuple ? Kind::tuple : Kind::list;
    case 7:
      return Kind::dict;
    case 8:
      return Kind::tensor;
    default:
      return Kind::object;
  }
}
bool Value::is_ordered_dict() const { return is_dict() && std::get<std::shared_ptr<Dict>>(data_)->ordered; }

template <class T>
const T& Value::get(const char* wanted) const {
  if (const T* v = std::get_if<T>(&data_)) return *v;
  throw_error<DataError>("expected ", wanted, ", found ", name_of(kind()), ".");
}
bool Value::boolean() const { return get<bool>("a boolean"); }
std::int64_t Value::integer() const { return get<std::int64_t>("an integer"); }
double Value::number() const {
  if (kind() == Kind::integer) return static_cast<double>(integer());
  if (is_tensor() && tensor().numel() == 1) return *load(tensor(), DType::f64, "a number").data<double>();
  return get<double>("a number");
}
const std::string& Value::string() const { return *get<std::shared_ptr<const std::string>>("a string"); }
std::shared_ptr<const std::vector<std::byte>> Value::shared_bytes() const {
  return get<std::shared_ptr<const std::vector<std::byte>>>("bytes");
}
const std::vector<std::byte>& Value::bytes() const {
  return *get<std::shared_ptr<const std::vector<std::byte>>>("bytes");
}
const StoredTensor& Value::tensor() const { return *get<std::shared_ptr<StoredTensor>>("a tensor"); }
StoredTensor& Value::tensor() { return *get<std::shared_ptr<StoredTensor>>("a tensor"); }
const std::vector<Value>& Value::items() const { return get<std::shared_ptr<Sequence>>("a list or tuple")->items; }
const std::vector<Value::Entry>& Value::entries() const { return get<std::shared_ptr<Dict>>("a dictionary")->entries; }
const std::shared_ptr<Value::Object>& Value::object() const { return get<std::shared_ptr<Object>>("an object"); }

std::string Value::index_key(const Value& key) {
  if (key.kind() == Kind::string) return text('s', key.string());
  if (key.kind() == Kind::integer) return text('i', key.integer());
  throw_error<DataError>("a dictionary key is ", name_of(key.kind()), "; only strings and integers are read.");
}
const Value* Value::find(const Value& key) const {
  const Dict& d = *get<std::shared_ptr<Dict>>("a dictionary");
  const auto at = d.index.find(index_key(key));
  return at == d.index.end() ? nullptr : &d.entries[at->second].second;
}
const Value& Value::at(const Value& key) const {
  if (const Value* v = find(key)) return *v;
  const std::string wanted = index_key(key).substr(1);
  std::vector<std::string> names;
  for (const Entry& e : entries()) names.push_back(index_key(e.first).substr(1));
  const std::string near = nearest_name(wanted, names);
  throw_error<DataError>("no key \"", wanted, "\" among ", names.size(),
                         near.empty() ? "" : "; the nearest is \"" + near + "\"", ".");
}
Value& Value::at(const Value& key) { return const_cast<Value&>(std::as_const(*this).at(key)); }
void Value::set(const Value& key, Value value) {
  Dict& d = *get<std::shared_ptr<Dict>>("a dictionary");
  const auto [at, added] = d.index.try_emplace(index_key(key), d.entries.size());
  if (added)
    d.entries.emplace_back(key, std::move(value));
  else
    d.entries[at->second].second = std::move(value);
}
void Value::push(Value value) { get<std::shared_ptr<Sequence>>("a list")->items.push_back(std::move(value)); }
void Value::clear() {
  if (const auto* s = std::get_if<std::shared_ptr<Sequence>>(&data_)) (*s)->items.clear();
  if (const auto* d = std::get_if<std::shared_ptr<Dict>>(&data_)) (*d)->entries.clear(), (*d)->index.clear();
}

namespace {
// A damaged file can nest shared containers so that the number of paths through them explodes. Real checkpoints have
// some thousand tensors and containers, and few other values.
struct Budget {
  std::size_t nodes = 100'000, values = 4'000'000;
};

void collect(const Value& v, const std::string& name, std::vector<NamedStored>& into, Budget& left) {
  const std::size_t values = v.is_tensor() ? 0 : v.is_dict() ? v.entries().size() : v.items().size();
  if (left.nodes == 0 || left.values < values)
    throw_error<DataError>("the paths through its nested values are too many.");
  --left.nodes, left.values -= values;
  if (v.is_tensor()) {
    into.push_back({name, v.tensor()});
    return;
  }
  auto descend = [&](const Value& item, auto&& leaf) {
    if (item.is_tensor() || item.is_dict() || item.is_sequence())
      collect(item, name.empty() ? leaf() : name + "." + leaf(), into, left);
  };
  if (v.is_dict())
    for (const auto& [key, item] : v.entries())
      descend(item, [&k = key] { return k.kind() == Value::Kind::string ? k.string() : std::to_string(k.integer()); });
  else
    for (std::size_t i = 0; i < v.items().size(); ++i) descend(v.items()[i], [i] { return std::to_string(i); });
}
}  // namespace

std::vector<NamedStored> tensors_of(const Value& root) {
  std::vector<NamedStored> all;
  Budget left;
  if (root.is_tensor() || root.is_dict() || root.is_sequence()) collect(root, "", all, left);
  return all;
}

}  // namespace mfl::io
