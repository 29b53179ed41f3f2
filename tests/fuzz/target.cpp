// The list of targets and the one way to fail.
#include "target.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace waggle::fuzz {
namespace {

std::vector<const Target*>& registered() {
  static std::vector<const Target*> targets;
  return targets;
}

}  // namespace

Target::Target(std::string_view given_name, Run given_run, Seeds given_seeds)
    : name(given_name), run(given_run), seeds(given_seeds) {
  registered().push_back(this);
}

std::vector<const Target*> Target::all() {
  auto targets = registered();
  std::sort(targets.begin(), targets.end(),
            [](const Target* a, const Target* b) { return a->name < b->name; });
  return targets;
}

void expect(bool holds, const char* property) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: does not hold: %s\n", property);
  std::abort();
}

}  // namespace waggle::fuzz
