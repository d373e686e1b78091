// A tree of Python values: what a checkpoint or a pickle holds, and what we write as one.
//
//   Value root = read_torch_file("ckpt.pt");
//   const Value& model = root.at("model");
//   for (const auto& [name, value] : model.entries()) read(value.tensor(), into, name.string());
//
//   Value out = Value::dict();
//   out.set("model", Value::ordered_dict());
//   out.at("model").set("weight", stored(view));
//   out.set("fwdbwd_pass_step", 12);
//
// Copies are handles on the same container, as in Python. Asking for another kind than is there is a DataError.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "runtime/io/stored_tensor.h"

namespace mfl::io {

class Value {
 public:
  enum class Kind : std::uint8_t { none, boolean, integer, real, string, bytes, list, tuple, dict, tensor, object };
  using Entry = std::pair<Value, Value>;
  // A Python object that is only a name here: a class, an element type.
  struct Object {
    explicit Object(std::string n) : name(std::move(n)) {}
    virtual ~Object() = default;
    std::string name;
  };

  Value() = default;  // None
  Value(bool v) : data_(v) {}
  Value(int v) : data_(std::int64_t{v}) {}
  Value(std::int64_t v) : data_(v) {}
  Value(double v) : data_(v) {}
  Value(const char* v) : Value(std::string(v)) {}
  Value(std::string v) : data_(std::make_shared<const std::string>(std::move(v))) {}
  Value(StoredTensor v) : data_(std::make_shared<StoredTensor>(std::move(v))) {}
  static Value bytes(std::vector<std::byte>);
  static Value list(std::vector<Value> = {});
  static Value tuple(std::vector<Value> = {});
  static Value dict();
  static Value ordered_dict();
  static Value object(std::shared_ptr<Object>);

  Kind kind() const;
  bool is_none() const { return kind() == Kind::none; }
  bool is_tensor() const { return kind() == Kind::tensor; }
  bool is_dict() const { return kind() == Kind::dict; }
  bool is_ordered_dict() const;
  bool is_sequence() const { return kind() == Kind::list || kind() == Kind::tuple; }

  bool boolean() const;
  std::int64_t integer() const;
  double number() const;  // integer, real, or a tensor of one element
  const std::string& string() const;
  const std::vector<std::byte>& bytes() const;
  std::shared_ptr<const std::vector<std::byte>> shared_bytes() const;
  const StoredTensor& tensor() const;
  StoredTensor& tensor();
  const std::vector<Value>& items() const;    // of a list or tuple
  const std::vector<Entry>& entries() const;  // of a dict, in insertion order
  const std::shared_ptr<Object>& object() const;

  // Dictionaries. Keys are strings and integers.
  const Value* find(const Value& key) const;  // null: absent
  const Value& at(const Value& key) const;    // DataError names the nearest key
  Value& at(const Value& key);
  void set(const Value& key, Value value);
  // Lists; and tuples while they are being made.
  void push(Value value);
  // Forgets the elements of a list, tuple or dict.
  void clear();

 private:
  struct Sequence {
    std::vector<Value> items;
    bool is_tuple;
  };
  struct Dict {
    std::vector<Entry> entries;
    std::unordered_map<std::string, std::size_t> index;  // "s" + text or "i" + number -> position
    bool ordered;
  };
  static std::string index_key(const Value&);
  template <class T>
  const T& get(const char* wanted) const;

  std::variant<std::monostate, bool, std::int64_t, double, std::shared_ptr<const std::string>,
               std::shared_ptr<const std::vector<std::byte>>, std::shared_ptr<Sequence>, std::shared_ptr<Dict>,
               std::shared_ptr<StoredTensor>, std::shared_ptr<Object>>
      data_;
};
const char* name_of(Value::Kind);

// Every tensor below `root`, named by the path of keys joined with dots ("model.layer.weight",
// "optimizer.state.0.step").
std::vector<NamedStored> tensors_of(const Value& root);

}  // namespace mfl::io
