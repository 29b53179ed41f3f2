// waggle keygen: a new cluster key, as base64 in a file that only its owner reads.
#include "base/keys.hpp"
#include "base/random_source.hpp"
#include "cli/verb.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <unistd.h>

namespace waggle::cli {

int run_keygen(const std::string& file) {
  SystemRandomSource random;
  const std::string text = ClusterKey::generate(random).to_base64() + "\n";
  if (file.empty() || file == "-") {
    fmt::print("{}", text);
    return exit_ok;
  }
  const int descriptor = ::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (descriptor < 0) {
    fmt::print(stderr, "waggle: cannot create {}: {}\n", file, std::strerror(errno));
    if (errno == EEXIST)
      fmt::print(stderr, "  It exists already; a key is never overwritten. Choose another name.\n");
    return exit_failed;
  }
  const bool written =
      ::write(descriptor, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
      ::fsync(descriptor) == 0;
  ::close(descriptor);
  if (!written) {
    fmt::print(stderr, "waggle: cannot write {}: {}\n", file, std::strerror(errno));
    return exit_failed;
  }
  return exit_ok;
}

}  // namespace waggle::cli
