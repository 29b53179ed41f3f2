// Why a node cannot start, said so that an operator can act on it.
#pragma once

#include <stdexcept>
#include <string>

namespace waggle::node {

/// Ends start-up; main() prints it and exits with `exit_code` (1 the machine, 2 the configuration).
class StartError : public std::runtime_error {
 public:
  StartError(int exit_code, const std::string& what)
      : std::runtime_error(what), exit_code_(exit_code) {}
  [[nodiscard]] int exit_code() const { return exit_code_; }

 private:
  int exit_code_;
};

}  // namespace waggle::node
