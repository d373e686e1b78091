#include "runtime/io/pickle.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <optional>
#include <unordered_map>

#include "runtime/io/byte_source.h"

namespace mfl::io {
namespace {

// ---- opcodes, as in Python's pickletools ----
enum Op : unsigned char {
  kProto = 0x80,
  kFrame = 0x95,
  kStop = '.',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kMemoize = 0x94,
  kBinGet = 'h',
  kLongBinGet = 'j',
  kEmptyList = ']',
  kEmptyDict = '}',
  kEmptyTuple = ')',
  kMark = '(',
  kAppend = 'a',
  kAppends = 'e',
  kSetItem = 's',
  kSetItems = 'u',
  kTuple = 't',
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNone = 'N',
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kLong1 = 0x8a,
  kBinFloat = 'G',
  kShortBinUnicode = 0x8c,
  kBinUnicode = 'X',
  kBinUnicode8 = 0x8d,
  kShortBinString = 'U',
  kBinString = 'T',
  kShortBinBytes = 'C',
  kBinBytes = 'B',
  kBinBytes8 = 0x8e,
  kByteArray8 = 0x96,
  kGlobal = 'c',
  kStackGlobal = 0x93,
  kReduce = 'R',
  kBuild = 'b',
  kBinPersId = 'Q',
  // protocols 0 and 1: arguments are lines of text
  kInt = 'I',
  kLong = 'L',
  kLong4 = 0x8b,
  kFloat = 'F',
  kString = 'S',
  kUnicode = 'V',
  kPut = 'p',
  kGet = 'g',
  kList = 'l',
  kDict = 'd',
};
struct OpName {
  unsigned char op;
  const char* name;
};
// What is refused, so that it can be refused by name.
constexpr OpName kRefused[] = {{'0', "POP"},          {'1', "POP_MARK"},     {'2', "DUP"},
                               {'P', "PERSID"},       {'i', "INST"},         {'o', "OBJ"},
                               {0x81, "NEWOBJ"},      {0x82, "EXT1"},        {0x83, "EXT2"},
                               {0x84, "EXT4"},        {0x8f, "EMPTY_SET"},   {0x90, "ADDITEMS"},
                               {0x91, "FROZENSET"},   {0x92, "NEWOBJ_EX"},   {0x97, "NEXT_BUFFER"},
                               {0x98, "READONLY_BUFFER"}};

// ---- constructors ----
enum class Global {
  ordered_dict,
  torch_size,
  rebuild_tensor,
  rebuild_tensor_v2,
  rebuild_parameter,
  torch_storage,
  numpy_reconstruct,
  numpy_ndarray,
  numpy_dtype,
  numpy_scalar,
  numpy_frombuffer,
  codecs_encode,
};
struct KnownGlobal {
  const char* name;  // module and qualified name
  Global global;
  StoredType type = StoredType::f32;  // of a torch storage
};
constexpr KnownGlobal kGlobals[] = {
    {"collections OrderedDict", Global::ordered_dict},
    {"numpy.core.multiarray _reconstruct", Global::numpy_reconstruct},
    {"numpy._core.multiarray _reconstruct", Global::numpy_reconstruct},
    {"numpy ndarray", Global::numpy_ndarray},
    {"numpy dtype", Global::numpy_dtype},
    {"numpy.core.multiarray scalar", Global::numpy_scalar},
    {"numpy._core.multiarray scalar", Global::numpy_scalar},
    {"numpy.core.numeric _frombuffer", Global::numpy_frombuffer},
    {"numpy._core.numeric _frombuffer", Global::numpy_frombuffer},
    {"_codecs encode", Global::codecs_encode},
};
constexpr KnownGlobal kTorchGlobals[] = {
    {"torch Size", Global::torch_size},
    {"torch._utils _rebuild_tensor", Global::rebuild_tensor},
    {"torch._utils _rebuild_tensor_v2", Global::rebuild_tensor_v2},
    {"torch._utils _rebuild_parameter", Global::rebuild_parameter},
    {"torch DoubleStorage", Global::torch_storage, StoredType::f64},
    {"torch FloatStorage", Global::torch_storage, StoredType::f32},
    {"torch HalfStorage", Global::torch_storage, StoredType::f16},
    {"torch BFloat16Storage", Global::torch_storage, StoredType::bf16},
    {"torch LongStorage", Global::torch_storage, StoredType::i64},
    {"torch IntStorage", Global::torch_storage, StoredType::i32},
    {"torch ShortStorage", Global::torch_storage, StoredType::i16},
    {"torch CharStorage", Global::torch_storage, StoredType::i8},
    {"torch ByteStorage", Global::torch_storage, StoredType::u8},
    {"torch BoolStorage", Global::torch_storage, StoredType::boolean},
};

constexpr std::pair<const char*, StoredType> kNumpyTypes[] = {
    {"f8", StoredType::f64}, {"f4", StoredType::f32}, {"f2", StoredType::f16},
    {"i8", StoredType::i64}, {"i4", StoredType::i32}, {"i2", StoredType::i16},
    {"i1", StoredType::i8},  {"u1", StoredType::u8},  {"b1", StoredType::boolean}};

struct GlobalObject final : Value::Object {
  explicit GlobalObject(const KnownGlobal& g) : Object(g.name), global(g.global), type(g.type) {}
  Global global;
  StoredType type;
};
struct DtypeObject final : Value::Object {
  explicit DtypeObject(StoredType t) : Object("numpy dtype"), type(t) {}
  StoredType type;
  bool swapped = false;  // big-endian in the file
};
struct StorageObject final : Value::Object {
  StorageObject(std::shared_ptr<const Storage> s, std::int64_t first)
      : Object("torch storage"), storage(std::move(s)), offset(first) {}
  std::shared_ptr<const Storage> storage;
  std::int64_t offset;
};

constexpr int kMaxDepth = 64;

class Unpickler {
 public:
  Unpickler(std::span<const std::byte> in, std::string_view what, const PersistentLoad& load)
      : in_(in), what_(what), load_(load), budget_(in.size() * 2 + 4096) {}
  ~Unpickler() {
    // After a failure half-built containers may be nested without limit, or contain themselves. All are held here, so
    // emptying them one by one recurses nowhere and frees everything.
    if (!done_)
      for (Value& c : containers_) c.clear();
  }

  Unpickled run() {
    while (true) {
      at_ = next_;
      const auto op = static_cast<unsigned char>(u8());
      if (op == kStop) break;
      step(op);
    }
    Value root = pop();
    if (!stack_.empty() || !marks_.empty()) wrong("STOP leaves other values on the stack");
    if (root.is_tensor() && !root.tensor().storage) wrong("a NumPy array without content");
    check_tree();
    done_ = true;
    return {std::move(root), next_};
  }

 private:
  template <class... P>
  [[noreturn]] void wrong(const P&... p) const {
    throw_error<DataError>(what_, ": not a pickle that is read here: ", p..., " (byte ", at_, ").");
  }

  // ---- input ----
  std::span<const std::byte> take(std::uint64_t count) {
    if (count > in_.size() - next_) wrong("an opcode needs ", count, " bytes, but ", in_.size() - next_, " are left");
    const auto taken = in_.subspan(next_, static_cast<std::size_t>(count));
    next_ += static_cast<std::size_t>(count);
    return taken;
  }
  template <class T>
  T little() {
    T v;
    std::memcpy(&v, take(sizeof(T)).data(), sizeof(T));
    return v;
  }
  std::uint8_t u8() { return little<std::uint8_t>(); }
  static std::string as_string(std::span<const std::byte> b) {
    return {reinterpret_cast<const char*>(b.data()), b.size()};
  }
  std::string line() {
    const auto* begin = reinterpret_cast<const char*>(in_.data()) + next_;
    const void* end = std::memchr(begin, '\n', in_.size() - next_);
    if (!end) wrong("a name without an end");
    std::string s(begin, static_cast<const char*>(end));
    next_ += s.size() + 1;
    return s;
  }

  // ---- stack and memo ----
  void push(Value v) { stack_.push_back(std::move(v)); }
  void push_container(Value v) {
    containers_.push_back(v);
    push(std::move(v));
  }
  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  Value pop() {
    if (stack_.size() <= floor()) wrong("the stack is empty");
    Value v = std::move(stack_.back());
    stack_.pop_back();
    return v;
  }
  Value& top() {
    if (stack_.size() <= floor()) wrong("the stack is empty");
    return stack_.back();
  }
  std::vector<Value> pop_mark() {
    if (marks_.empty()) wrong("no MARK");
    const auto first = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<Value> items(std::make_move_iterator(first), std::make_move_iterator(stack_.end()));
    stack_.erase(first, stack_.end());
    marks_.pop_back();
    return items;
  }
  std::vector<Value> pop_several(int count) {
    std::vector<Value> items(static_cast<std::size_t>(count));
    for (int i = count; i-- > 0;) items[static_cast<std::size_t>(i)] = pop();
    return items;
  }
  void put(std::uint32_t slot) { memo_[slot] = top(); }
  void get(std::uint32_t slot) {
    const auto found = memo_.find(slot);
    if (found == memo_.end()) wrong("memo entry ", slot, " was never stored");
    push(found->second);
  }
  // Constructors may be called again and again on one memoized argument: what they make in total stays in proportion.
  void spend(std::size_t bytes) {
    if (bytes > budget_) wrong("its constructors make much more data than the file holds");
    budget_ -= bytes;
  }

  // ---- one opcode ----
  void step(unsigned char op) {
    switch (op) {
      case kProto: {
        const int version = u8();
        if (version > 5) wrong("protocol ", version, "; 0 to 5 are read");
        return;
      }
      case kFrame:
        little<std::uint64_t>();
        return;
      case kBinPut:
        return put(u8());
      case kLongBinPut:
        return put(little<std::uint32_t>());
      case kMemoize:
        return put(static_cast<std::uint32_t>(memo_.size()));
      case kBinGet:
        return get(u8());
      case kLongBinGet:
        return get(little<std::uint32_t>());
      case kMark:
        marks_.push_back(stack_.size());
        return;
      case kEmptyList:
        return push_container(Value::list());
      case kEmptyDict:
        return push_container(Value::dict());
      case kEmptyTuple:
        return push(Value::tuple());
      case kAppend:
        return append(pop_several(1));
      case kAppends:
        return append(pop_mark());
      case kSetItem:
        return set_items(pop_several(2));
      case kSetItems:
        return set_items(pop_mark());
      case kTuple:
        return push_container(Value::tuple(pop_mark()));
      case kTuple1:
        return push_container(Value::tuple(pop_several(1)));
      case kTuple2:
        return push_container(Value::tuple(pop_several(2)));
      case kTuple3:
        return push_container(Value::tuple(pop_several(3)));
      case kNone:
        return push({});
      case kNewTrue:
        return push(true);
      case kNewFalse:
        return push(false);
      case kBinInt:
        return push(std::int64_t{little<std::int32_t>()});
      case kBinInt1:
        return push(std::int64_t{u8()});
      case kBinInt2:
        return push(std::int64_t{little<std::uint16_t>()});
      case kLong1:
        return push(long_of(u8()));
      case kLong4: {
        const auto count = little<std::int32_t>();
        if (count < 0) wrong("an integer of ", count, " bytes");
        return push(long_of(static_cast<std::uint32_t>(count)));
      }
      case kInt:
        return push(int_line());
      case kLong:
        return push(number_line<std::int64_t>(true));
      case kFloat:
        return push(number_line<double>(false));
      case kString:
        return push(quoted(line()));
      case kUnicode:
        return push(raw_unicode(line()));
      case kPut:
        return put(number_line<std::uint32_t>(false));
      case kGet:
        return get(number_line<std::uint32_t>(false));
      case kList:
        return push_container(Value::list(pop_mark()));
      case kDict: {
        std::vector<Value> items = pop_mark();
        push_container(Value::dict());
        return set_items(std::move(items));
      }
      case kBinFloat:
        return push(std::bit_cast<double>(__builtin_bswap64(little<std::uint64_t>())));
      case kShortBinUnicode:
      case kShortBinString:
        return push(as_string(take(u8())));
      case kBinUnicode:
        return push(as_string(take(little<std::uint32_t>())));
      case kBinString: {
        const auto count = little<std::int32_t>();
        if (count < 0) wrong("a string of ", count, " bytes");
        return push(as_string(take(static_cast<std::uint32_t>(count))));
      }
      case kBinUnicode8:
        return push(as_string(take(little<std::uint64_t>())));
      case kShortBinBytes:
        return push(bytes(take(u8())));
      case kBinBytes:
        return push(bytes(take(little<std::uint32_t>())));
      case kBinBytes8:
      case kByteArray8:
        return push(bytes(take(little<std::uint64_t>())));
      case kGlobal: {
        const std::string module = line();
        return global(module + " " + line());
      }
      case kStackGlobal: {
        const std::vector<Value> names = pop_several(2);
        return global(names[0].string() + " " + names[1].string());
      }
      case kReduce: {
        const std::vector<Value> call = pop_several(2);
        return reduce(call[0], call[1]);
      }
      case kBuild: {
        const Value state = pop();
        return build(top(), state);
      }
      case kBinPersId:
        return persistent(pop());
      default:
        break;
    }
    for (const OpName& r : kRefused)
      if (r.op == op) wrong("opcode ", r.name, " is not allowed");
    wrong("byte ", int{op}, " is no opcode");
  }

  static Value bytes(std::span<const std::byte> b) { return Value::bytes({b.begin(), b.end()}); }
  Value long_of(std::uint32_t count) {
    const auto digits = take(count);
    if (digits.size() > 8) wrong("an integer of ", digits.size(), " bytes; at most 8 are read");
    std::uint64_t v = 0;
    for (std::size_t i = 0; i < digits.size(); ++i) v |= static_cast<std::uint64_t>(digits[i]) << (8 * i);
    if (!digits.empty() && digits.size() < 8 && (static_cast<unsigned>(digits.back()) & 0x80u))
      v |= ~std::uint64_t{0} << (8 * digits.size());
    return static_cast<std::int64_t>(v);
  }
  // A line with one number and nothing else; Python 2 ends long integers with an L.
  template <class T>
  T number_line(bool may_end_in_l) {
    std::string s = line();
    if (may_end_in_l && s.ends_with('L')) s.pop_back();
    T v{};
    const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), v);
    if (error != std::errc{} || end != s.data() + s.size()) wrong("\"", s.substr(0, 40), "\" is not a number that is read here");
    return v;
  }
  Value int_line() {
    if (in_.size() - next_ >= 3) {  // 00 and 01 are booleans
      const std::string s = as_string(in_.subspan(next_, 3));
      if (s == "00\n" || s == "01\n") return next_ += 3, Value(s[1] == '1');
    }
    return number_line<std::int64_t>(false);
  }
  static int hex(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  }
  std::uint32_t hex_digits(const std::string& s, std::size_t first, std::size_t count) const {
    if (s.size() < count || first > s.size() - count) wrong("an escape without its ", count, " digits");
    std::uint32_t v = 0;
    for (std::size_t i = first; i < first + count; ++i) {
      if (hex(s[i]) < 0) wrong("an escape with something other than hexadecimal digits");
      v = v << 4 | static_cast<std::uint32_t>(hex(s[i]));
    }
    return v;
  }
  // What Python 2's repr makes of a byte string: quotes around, backslash escapes.
  std::string quoted(const std::string& s) const {
    if (s.size() < 2 || s.front() != s.back() || (s.front() != '\'' && s.front() != '"')) wrong("a string without its quotes");
    constexpr std::string_view from = "\\'\"nrtabfv0", to("\\'\"\n\r\t\a\b\f\v\0", 11);
    std::string out;
    for (std::size_t i = 1; i + 1 < s.size(); ++i) {
      if (s[i] != '\\') {
        out += s[i];
      } else if (s[++i] == 'x') {
        out += static_cast<char>(hex_digits(s, i + 1, 2));
        i += 2;
        if (i + 1 >= s.size()) wrong("an escape that runs into the closing quote");
      } else if (const std::size_t at = from.find(s[i]); at != from.npos && i + 1 < s.size()) {
        out += to[at];
      } else {
        wrong("an unknown escape in a string");
      }
    }
    return out;
  }
  // Latin-1 with \\uXXXX for the rest (Python's raw-unicode-escape), as UTF-8.
  std::string raw_unicode(const std::string& s) const {
    std::string out;
    for (std::size_t i = 0; i < s.size(); ++i) {
      std::uint32_t c = static_cast<unsigned char>(s[i]);
      if (s[i] == '\\' && i + 1 < s.size() && (s[i + 1] == 'u' || s[i + 1] == 'U')) {
        const std::size_t count = s[i + 1] == 'u' ? 4 : 8;
        c = hex_digits(s, i + 2, count);
        i += count + 1;
      }
      if (c > 0x10ffff) wrong("a character beyond Unicode");
      if (c < 0x80) {
        out += static_cast<char>(c);
      } else {
        const int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
        out += static_cast<char>((0xff00 >> (more + 1) & 0xff) | c >> (6 * more));
        for (int k = more; k-- > 0;) out += static_cast<char>(0x80 | (c >> (6 * k) & 0x3f));
      }
    }
    return out;
  }
  void append(std::vector<Value> items) {
    if (top().kind() != Value::Kind::list) wrong("APPEND to ", name_of(top().kind()));
    for (Value& v : items) top().push(std::move(v));
  }
  void set_items(std::vector<Value> items) {
    if (!top().is_dict()) wrong("SETITEM on ", name_of(top().kind()));
    if (items.size() % 2) wrong("a key without a value");
    for (std::size_t i = 0; i < items.size(); i += 2) top().set(items[i], std::move(items[i + 1]));
  }

  // ---- constructors ----
  void global(const std::string& name) {
    for (const KnownGlobal& g : kGlobals)
      if (name == g.name) return push(Value::object(std::make_shared<GlobalObject>(g)));
    for (const KnownGlobal& g : kTorchGlobals)
      if (name == g.name) {
        if (!load_) wrong("it holds torch tensors (", name, "), which are read only from files of torch.save");
        return push(Value::object(std::make_shared<GlobalObject>(g)));
      }
    wrong("it asks for the Python object \"", name.substr(0, 200), "\", which is not on the list of what may be read");
  }
  template <class T>
  std::shared_ptr<T> as(const Value& v, const char* wanted) const {
    if (v.kind() == Value::Kind::object)
      if (auto o = std::dynamic_pointer_cast<T>(v.object())) return o;
    wrong("expected ", wanted, ", found ", v.kind() == Value::Kind::object ? v.object()->name : name_of(v.kind()));
  }
  const std::vector<Value>& arguments(const Value& v, std::size_t at_least) const {
    if (v.kind() != Value::Kind::tuple || v.items().size() < at_least)
      wrong("expected a tuple of at least ", at_least, " arguments");
    return v.items();
  }
  Shape shape_of(const Value& v) const {
    std::vector<std::int64_t> axes;
    for (const Value& a : arguments(v, 0)) axes.push_back(a.integer());
    return checked_shape(axes, what_);
  }
  Shape stride_of(const Value& v) const {
    std::vector<std::int64_t> steps;
    for (const Value& a : arguments(v, 0)) steps.push_back(a.integer());
    if (steps.size() > static_cast<std::size_t>(Shape::kMaxRank)) wrong(steps.size(), " strides");
    return Shape(steps);
  }

  void reduce(const Value& callable, const Value& argument) {
    const auto g = as<GlobalObject>(callable, "a constructor");
    switch (g->global) {
      case Global::ordered_dict: {
        Value d = Value::ordered_dict();
        if (!arguments(argument, 0).empty())  // Python 2: a list of [key, value]
          for (const Value& pair : argument.items()[0].items()) {
            if (!pair.is_sequence() || pair.items().size() != 2) wrong("OrderedDict of something other than pairs");
            d.set(pair.items()[0], pair.items()[1]);
          }
        return push_container(std::move(d));
      }
      case Global::torch_size:
        return push(arguments(argument, 1)[0]);
      case Global::rebuild_tensor:
      case Global::rebuild_tensor_v2: {
        const auto& a = arguments(argument, 4);
        const auto s = as<StorageObject>(a[0], "a torch storage");
        StoredTensor t{s->storage, 0, shape_of(a[2]), stride_of(a[3])};
        if (__builtin_add_overflow(a[1].integer(), s->offset, &t.offset)) wrong("a storage offset beyond 64 bits");
        check_inside(t, what_);
        return push(std::move(t));
      }
      case Global::rebuild_parameter: {
        const Value& data = arguments(argument, 1)[0];
        if (!data.is_tensor()) wrong("a parameter of ", name_of(data.kind()));
        return push(data);
      }
      case Global::numpy_reconstruct:
        return push(StoredTensor{});  // filled by BUILD
      case Global::numpy_dtype:
        return push(Value::object(dtype(arguments(argument, 1)[0].string())));
      case Global::numpy_scalar: {
        const auto& a = arguments(argument, 2);
        const auto type = as<DtypeObject>(a[0], "a NumPy element type");
        const StoredTensor t = array(*type, Shape{}, false, raw_bytes(a[1]));
        if (type->type == StoredType::boolean) return push(*load(t, "scalar").data<std::uint8_t>() != 0);
        const DType wide =
            type->type == StoredType::f64 || type->type == StoredType::f32 || type->type == StoredType::f16
                ? DType::f64
                : DType::i64;
        const Tensor v = load(t, wide, "scalar");
        return push(wide == DType::f64 ? Value(*v.data<double>()) : Value(*v.data<std::int64_t>()));
      }
      case Global::numpy_frombuffer: {
        const auto& a = arguments(argument, 4);
        return push(array(*as<DtypeObject>(a[1], "a NumPy element type"), shape_of(a[2]), a[3].string() == "F",
                          raw_bytes(a[0])));
      }
      case Global::codecs_encode: {
        const auto& a = arguments(argument, 2);
        if (a[1].string() != "latin1") wrong("_codecs.encode to ", a[1].string(), "; only latin1 stands for bytes");
        return push(latin1(a[0].string()));
      }
      case Global::torch_storage:
      case Global::numpy_ndarray:
        break;
    }
    wrong("\"", g->name, "\" may be named but not called");
  }

  void build(Value& target, const Value& state) {
    if (target.is_tensor() && !target.tensor().storage) {
      const auto& s = arguments(state, 5);  // version, shape, dtype, is_fortran, bytes
      target.tensor() =
          array(*as<DtypeObject>(s[2], "a NumPy element type"), shape_of(s[1]), s[3].boolean(), raw_bytes(s[4]));
      return;
    }
    if (target.kind() == Value::Kind::object && dynamic_cast<DtypeObject*>(target.object().get())) {
      const std::string& order = arguments(state, 2)[1].string();
      if (order != "<" && order != ">" && order != "|" && order != "=") wrong("NumPy byte order \"", order, "\"");
      static_cast<DtypeObject&>(*target.object()).swapped = order == ">";
      return;
    }
    if (target.is_ordered_dict() && state.is_dict()) return;  // a state dict's _metadata: module versions, not needed
    wrong("BUILD on ", name_of(target.kind()));
  }

  std::shared_ptr<DtypeObject> dtype(const std::string& code) const {
    for (const auto& [name, type] : kNumpyTypes)
      if (code == name) return std::make_shared<DtypeObject>(type);
    wrong("NumPy element type \"", code.substr(0, 20), "\"; f8, f4, f2, i8, i4, i2, i1, u1 and b1 are read");
  }
  using Bytes = std::shared_ptr<const std::vector<std::byte>>;
  Bytes raw_bytes(const Value& v) {
    if (v.kind() == Value::Kind::bytes) return v.shared_bytes();
    const auto b = std::as_bytes(std::span(v.string()));  // Python 2 wrote bytes as strings
    spend(b.size());
    return std::make_shared<const std::vector<std::byte>>(b.begin(), b.end());
  }
  StoredTensor array(const DtypeObject& dtype, Shape shape, bool fortran, Bytes bytes) {
    const std::size_t size = size_of(dtype.type);
    if (static_cast<std::uint64_t>(shape.numel()) * size != bytes->size())
      wrong("a NumPy array of ", shape, " with ", bytes->size(), " bytes of ", dtype.type);
    if (dtype.swapped && size > 1) {
      spend(bytes->size());
      std::vector<std::byte> native(*bytes);
      for (auto it = native.begin(); it != native.end(); it += static_cast<std::ptrdiff_t>(size))
        std::reverse(it, it + static_cast<std::ptrdiff_t>(size));
      bytes = std::make_shared<const std::vector<std::byte>>(std::move(native));
    }
    StoredTensor t = stored(std::move(bytes), dtype.type, shape);
    if (fortran) {
      std::int64_t step = 1;
      for (int i = 0; i < shape.rank(); step *= shape[i++]) t.stride[i] = step;
    }
    return t;
  }
  // UTF-8 text whose code points are bytes.
  Value latin1(const std::string& s) {
    spend(s.size());
    std::vector<std::byte> b;
    for (std::size_t i = 0; i < s.size(); ++i) {
      auto c = static_cast<unsigned char>(s[i]);
      if (c >= 0x80) {
        if ((c != 0xc2 && c != 0xc3) || i + 1 == s.size()) wrong("bytes written as text beyond latin1");
        c = static_cast<unsigned char>((c << 6) | (static_cast<unsigned char>(s[++i]) & 0x3f));
      }
      b.push_back(std::byte{c});
    }
    return Value::bytes(std::move(b));
  }

  void persistent(const Value& id) {
    if (!load_) wrong("opcode BINPERSID is not allowed outside files of torch.save");
    const auto& a = arguments(id, 5);  // "storage", type, key, location, numel[, view]
    if (a[0].string() != "storage")
      wrong("a persistent \"", a[0].string().substr(0, 50), "\"; only torch storages are read");
    const auto type = as<GlobalObject>(a[1], "a torch storage type");
    if (type->global != Global::torch_storage) wrong("a storage of type ", type->name);
    const std::int64_t numel = a[4].integer();
    if (numel < 0) wrong("a storage of ", numel, " elements");
    std::int64_t offset = 0;
    if (a.size() > 5 && !a[5].is_none()) offset = arguments(a[5], 3)[1].integer();  // key, offset, size
    if (offset < 0 || offset > numel) wrong("a view of a storage from element ", offset, " of ", numel);
    push(Value::object(std::make_shared<StorageObject>(load_({type->type, a[2].string(), numel}), offset)));
  }

  // Depth and cycles, without recursion: containers are visited in post-order and know their height.
  void check_tree() {
    std::unordered_map<const void*, int> height;  // -1: being visited
    struct Visit {
      const Value* value;
      std::size_t next;
      int below;
    };
    auto identity = [](const Value& v) { return v.is_dict() ? static_cast<const void*>(&v.entries()) : &v.items(); };
    auto is_container = [](const Value& v) { return v.is_dict() || v.is_sequence(); };
    for (const Value& start : containers_) {
      std::vector<Visit> path;
      if (height.count(identity(start))) continue;
      height[identity(start)] = -1;
      path.push_back({&start, 0, 0});
      while (!path.empty()) {
        Visit& v = path.back();
        const std::size_t count = v.value->is_dict() ? v.value->entries().size() : v.value->items().size();
        if (v.next == count) {
          height[identity(*v.value)] = v.below + 1;
          if (v.below + 1 > kMaxDepth) wrong("values are nested deeper than ", kMaxDepth);
          const int mine = v.below + 1;
          path.pop_back();
          if (!path.empty()) path.back().below = std::max(path.back().below, mine);
          continue;
        }
        const Value& child = v.value->is_dict() ? v.value->entries()[v.next].second : v.value->items()[v.next];
        ++v.next;
        if (child.is_tensor() && !child.tensor().storage) wrong("a NumPy array without content");
        if (!is_container(child)) continue;
        const auto [seen, fresh] = height.try_emplace(identity(child), -1);
        if (!fresh && seen->second < 0) wrong("a container contains itself");
        if (fresh)
          path.push_back({&child, 0, 0});
        else
          v.below = std::max(v.below, seen->second);
      }
    }
  }

  std::span<const std::byte> in_;
  std::string_view what_;
  const PersistentLoad& load_;
  std::size_t next_ = 0, at_ = 0, budget_;
  bool done_ = false;
  std::vector<Value> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::uint32_t, Value> memo_;
  std::vector<Value> containers_;
};

// ---- writing ----
class Pickler {
 public:
  using KeyOf = std::function<std::string(const StoredTensor&)>;
  // Tensors as torch tensors (protocol 2), or without `key_of` as NumPy arrays (protocol 3, which has bytes).
  explicit Pickler(const KeyOf& key_of) : key_of_(key_of) { code(kProto), code(key_of ? 2 : 3); }

  std::vector<std::byte> finish(const Value& v) {
    write(v, 0);
    code(kStop);
    return std::move(out_);
  }

 private:
  void code(int c) { out_.push_back(static_cast<std::byte>(c)); }
  void raw(const void* p, std::size_t n) {
    const auto* b = static_cast<const std::byte*>(p);
    out_.insert(out_.end(), b, b + n);
  }
  void global(const char* module, const char* name) {
    code(kGlobal);
    for (const char* s : {module, name}) raw(s, std::strlen(s)), code('\n');
  }
  void integer(std::int64_t v) {
    if (v >= 0 && v < 256) {
      code(kBinInt1), code(static_cast<int>(v));
    } else if (v >= 0 && v < 65536) {
      const auto u = static_cast<std::uint16_t>(v);
      code(kBinInt2), raw(&u, 2);
    } else if (std::in_range<std::int32_t>(v)) {
      const auto i = static_cast<std::int32_t>(v);
      code(kBinInt), raw(&i, 4);
    } else {
      code(kLong1), code(8), raw(&v, 8);
    }
  }
  void text(const std::string& s) {
    if (!std::in_range<std::uint32_t>(s.size()))
      throw_error<DataError>("a string of ", s.size(), " bytes cannot be pickled.");
    const auto n = static_cast<std::uint32_t>(s.size());
    code(kBinUnicode), raw(&n, 4), raw(s.data(), n);
  }
  void axes(const Shape& s) {
    code(kMark);
    for (std::int64_t a : s) integer(a);
    code(kTuple);
  }
  void byte_string(std::span<const std::byte> b) {
    if (!std::in_range<std::uint32_t>(b.size())) throw_error<DataError>("an array of ", b.size(), " bytes cannot be pickled.");
    const auto n = static_cast<std::uint32_t>(b.size());
    code(kBinBytes), raw(&n, 4), raw(b.data(), n);
  }
  void array(const StoredTensor& t) {
    const char* type = nullptr;
    for (const auto& [name, known] : kNumpyTypes)
      if (known == t.type()) type = name;
    if (!type) throw_error<DataError>("NumPy has no element type ", t.type(), ".");
    global("numpy.core.multiarray", "_reconstruct");
    global("numpy", "ndarray"), code(kBinInt1), code(0), code(kTuple1), byte_string(std::as_bytes(std::span("b", 1)));
    code(kTuple3), code(kReduce);
    code(kMark), integer(1), axes(t.shape);  // version of the state, shape, element type, Fortran order, bytes
    global("numpy", "dtype"), text(type), code(kNewFalse), code(kNewTrue), code(kTuple3), code(kReduce);
    code(kMark), integer(3), text(size_of(t.type()) > 1 ? "<" : "|");
    code(kNone), code(kNone), code(kNone), integer(-1), integer(-1), integer(0), code(kTuple), code(kBuild);
    code(kNewFalse);
    std::vector<std::byte> bytes;
    for_each_piece(t, "array", [&](std::span<const std::byte> b) { bytes.insert(bytes.end(), b.begin(), b.end()); });
    byte_string(bytes), code(kTuple), code(kBuild);
  }
  void tensor(const StoredTensor& t) {
    if (!key_of_) return array(t);
    const char* type = nullptr;
    for (const KnownGlobal& g : kTorchGlobals)
      if (g.global == Global::torch_storage && g.type == t.type()) type = g.name + std::strlen("torch ");
    global("torch._utils", "_rebuild_tensor_v2");
    code(kMark);
    code(kMark), text("storage"), global("torch", type), text(key_of_(t)), text("cpu"), integer(t.storage->numel());
    code(kTuple), code(kBinPersId);
    integer(t.offset), axes(t.shape), axes(t.stride), code(kNewFalse);
    global("collections", "OrderedDict"), code(kEmptyTuple), code(kReduce);  // backward hooks: none
    code(kTuple), code(kReduce);
  }
  void write(const Value& v, int depth) {
    if (depth > kMaxDepth) throw_error<DataError>("values nested deeper than ", kMaxDepth, " cannot be pickled.");
    switch (v.kind()) {
      case Value::Kind::none:
        return code(kNone);
      case Value::Kind::boolean:
        return code(v.boolean() ? kNewTrue : kNewFalse);
      case Value::Kind::integer:
        return integer(v.integer());
      case Value::Kind::real: {
        const std::uint64_t big = __builtin_bswap64(std::bit_cast<std::uint64_t>(v.number()));
        return code(kBinFloat), raw(&big, 8);
      }
      case Value::Kind::string:
        return text(v.string());
      case Value::Kind::tensor:
        return tensor(v.tensor());
      case Value::Kind::tuple:
        code(kMark);
        for (const Value& i : v.items()) write(i, depth + 1);
        return code(kTuple);
      case Value::Kind::list:
        code(kEmptyList), code(kMark);
        for (const Value& i : v.items()) write(i, depth + 1);
        return code(kAppends);
      case Value::Kind::dict:
        if (v.is_ordered_dict())
          global("collections", "OrderedDict"), code(kEmptyTuple), code(kReduce);
        else
          code(kEmptyDict);
        code(kMark);
        for (const auto& [key, item] : v.entries()) write(key, depth + 1), write(item, depth + 1);
        return code(kSetItems);
      case Value::Kind::bytes:
      case Value::Kind::object:
        break;
    }
    throw_error<DataError>(name_of(v.kind()), " cannot be written into a checkpoint.");
  }

  const KeyOf& key_of_;
  std::vector<std::byte> out_;
};

}  // namespace

Unpickled unpickle(std::span<const std::byte> in, std::string_view what, const PersistentLoad& load) {
  try {
    return Unpickler(in, what, load).run();
  } catch (const DataError& e) {
    // Sentences of Value name only the kind that was found.
    if (std::string_view(e.what()).substr(0, what.size()) == what) throw;
    throw_error<DataError>(what, ": not a pickle that is read here: ", e.what());
  }
}

Value read_pickle_file(const std::filesystem::path& path) {
  const Source file = open_file(path);
  return unpickle(file->read(0, file->size()), path.string()).value;
}

std::vector<std::byte> pickle_arrays(const Value& v) { return Pickler({}).finish(v); }
std::vector<std::byte> pickle(const Value& v, const std::function<std::string(const StoredTensor&)>& key_of) {
  return Pickler(key_of).finish(v);
}

}  // namespace mfl::io
