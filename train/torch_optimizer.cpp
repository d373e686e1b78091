#include "train/torch_optimizer.h"

#include "runtime/error.h"

namespace mfl {
namespace {

using io::Value;

const Value* states_of(const Value& state_dict) { return state_dict.is_dict() ? state_dict.find("state") : nullptr; }

// Keys of the states in the order of Optimizer::grouped: PyTorch numbers parameters by their place in the groups.
std::vector<Value> state_keys(const Value& state_dict) {
  std::vector<Value> keys;
  for (const Value& group : state_dict.at("param_groups").items())
    for (const Value& key : group.at("params").items()) keys.push_back(key);
  return keys;
}

std::vector<const Param*> flat(const std::vector<std::vector<const Param*>>& grouped) {
  std::vector<const Param*> all;
  for (const auto& group : grouped) all.insert(all.end(), group.begin(), group.end());
  return all;
}

constexpr std::pair<Moment, const char*> kMoments[] = {{Moment::exp_avg, "exp_avg"}, {Moment::exp_avg_sq, "exp_avg_sq"}};

// The shapes may differ by axes of one element, as weights::load_parameter allows.
bool same_shape(const Shape& a, const Shape& b) {
  std::vector<std::int64_t> x, y;
  for (std::int64_t n : a)
    if (n != 1) x.push_back(n);
  for (std::int64_t n : b)
    if (n != 1) y.push_back(n);
  return x == y;
}

}  // namespace

Value adamw_state_dict(const AdamWState& a) {
  const OptimizerConfig& c = a.optimizer.config();
  Value states = Value::dict(), groups = Value::list();
  std::int64_t index = 0;
  const auto grouped = a.optimizer.grouped();
  for (std::size_t g = 0; g < grouped.size(); ++g) {
    if (grouped[g].empty() && !a.empty_groups) continue;
    const AdamWGroup& rule = c.groups.groups[g];
    Value params = Value::list();
    for (const Param* p : grouped[g]) {
      if (a.updates > 0) {
        Value one = Value::dict();
        one.set("step", io::stored_scalar(static_cast<float>(a.updates)));
        for (const auto& [moment, name] : kMoments) one.set(name, a.piece(moment, *p));
        states.set(index, one);
      }
      params.push(index++);
    }
    Value group = Value::dict();
    group.set("lr", a.learning_rate * rule.learning_rate_factor);
    group.set("betas", Value::tuple({c.beta1, c.beta2}));
    group.set("eps", c.eps);
    group.set("weight_decay", rule.weight_decay);
    group.set("amsgrad", false);
    group.set("foreach", Value());
    group.set("maximize", false);
    group.set("capturable", false);
    group.set("differentiable", false);
    group.set("fused", a.fused);
    group.set("initial_lr", a.base_learning_rate * rule.learning_rate_factor);
    group.set("params", params);
    groups.push(group);
  }
  Value root = Value::dict();
  root.set("state", states);
  root.set("param_groups", groups);
  return root;
}

Value lambda_lr_state_dict(const AdamWState& a, std::int64_t last_epoch, const Value& lambda) {
  Value base = Value::list(), last = Value::list(), lambdas = Value::list();
  const auto grouped = a.optimizer.grouped();
  for (std::size_t g = 0; g < grouped.size(); ++g) {
    if (grouped[g].empty() && !a.empty_groups) continue;
    const double factor = a.optimizer.config().groups.groups[g].learning_rate_factor;
    base.push(a.base_learning_rate * factor);
    last.push(a.learning_rate * factor);
    lambdas.push(lambda);
  }
  Value root = Value::dict();
  root.set("base_lrs", base);
  root.set("last_epoch", last_epoch);
  root.set("verbose", false);
  root.set("_step_count", last_epoch + 1);
  root.set("_get_lr_called_within_step", false);
  root.set("_last_lr", last);
  root.set("lr_lambdas", lambdas);
  return root;
}

void check_adamw_state(const Optimizer& optimizer, const Value& state_dict, std::string_view file, std::string_view remedy) {
  const Value* states = states_of(state_dict);
  if (!states || !states->is_dict() || !state_dict.find("param_groups"))
    throw_error<DataError>(file, ": no optimizer state: expected a dictionary of \"state\" and \"param_groups\"");
  const std::vector<std::vector<const Param*>> grouped = optimizer.grouped();
  const std::vector<const Param*> order = flat(grouped);
  const std::size_t wanted = order.size();
  const std::vector<Value> keys = state_keys(state_dict);
  if (keys.size() != wanted || (!states->entries().empty() && states->entries().size() != wanted))
    throw_error<DataError>(file, ": optimizer state of ", keys.size() != wanted ? keys.size() : states->entries().size(),
                           " tensors, the run trains ", wanted, "; ", remedy);
  // Groups without members may be left out by either side.
  auto sizes = [](auto&& counts) {
    std::string s;
    for (std::size_t n : counts)
      if (n > 0) s += (s.empty() ? "" : " + ") + std::to_string(n);
    return s;
  };
  std::vector<std::size_t> ours, theirs;
  for (const auto& g : grouped) ours.push_back(g.size());
  for (const Value& g : state_dict.at("param_groups").items()) theirs.push_back(g.at("params").items().size());
  if (sizes(ours) != sizes(theirs))
    throw_error<DataError>(file, ": optimizer groups of ", sizes(theirs), " tensors, the run has ", sizes(ours), "; ", remedy);
  if (states->entries().empty()) return;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const Param& p = *order[i];
    const Value* one = states->find(keys[i]);
    if (one && one->is_dict() && one->find("state1"))
      throw_error<DataError>(file, ": the state of an 8-bit AdamW (use_8bit_adam). Its moments are quantised in blocks and are not "
                             "read; to go on from the weights alone, start a new run from them");
    for (const auto& [moment, name] : kMoments) {
      const Value* t = one && one->is_dict() ? one->find(name) : nullptr;
      if (!t || !t->is_tensor() || !one->find("step"))
        throw_error<DataError>(file, ": optimizer.state.", i, " of ", p.name, " has no \"step\" and tensor \"", name,
                               "\": it is no state of AdamW");
      if (!same_shape(t->tensor().shape, p.shape))
        throw_error<DataError>(file, ": optimizer.state.", i, '.', name, ' ', t->tensor().shape, ", expected ", p.shape, " of ", p.name);
    }
  }
}

std::int64_t load_adamw_state(const Stream& s, Optimizer& optimizer, const Value& state_dict) {
  const Value& states = *states_of(state_dict);
  const std::vector<Value> keys = state_keys(state_dict);
  std::int64_t updates = 0;
  std::size_t i = 0;
  if (states.entries().empty())   // saved before the first update
    for (const Tensor& moments : {optimizer.exp_avg(), optimizer.exp_avg_sq()}) fill_zero(s, moments);
  else
    for (const Param* p : flat(optimizer.grouped())) {
      const Value& one = states.at(keys[i++]);
      for (const auto& [moment, name] : kMoments)
        optimizer.sharding().load(s, moment == Moment::exp_avg ? optimizer.exp_avg() : optimizer.exp_avg_sq(), *p, one.at(name).tensor(),
                                  text("optimizer.state.", i - 1, '.', name));
      updates = static_cast<std::int64_t>(one.at("step").number());
    }
  optimizer.set_updates(s, updates);
  s.synchronize();
  return updates;
}

}  // namespace mfl
