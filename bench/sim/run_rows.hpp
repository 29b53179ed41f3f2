// The main function of a bench of rows: each wanted row for each number of nodes, in a process of
// its own, so that memory is that row's alone.
#pragma once

#include "sim/row.hpp"

#include <cstddef>
#include <span>

namespace waggle::bench {

struct NamedRow {
  const char* name;
  void (*measure)(const SimOptions&, std::size_t nodes);
};

/// @return the program's exit status: 1 when a row broke
[[nodiscard]] int run_rows(const char* program, std::span<const NamedRow> rows, int argc,
                           char** argv, const OptionDefaults& defaults = {});

}  // namespace waggle::bench
