// Identity, incarnation and key files.
#include "node/state_files_driver.hpp"

#include "base/descriptor_driver.hpp"
#include "node/error.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace waggle::node {
namespace {

Result<void> sync_directory(const std::string& path) {
  const auto slash = path.rfind('/');
  const Descriptor directory(
      ::open(slash == std::string::npos ? "." : path.substr(0, slash).c_str(),
             O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0 || ::fsync(directory.get()) != 0) return last_system_error();
  return {};
}

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

}  // namespace

Result<std::string> read_file(const std::string& path, std::size_t bytes_max) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return last_system_error();
  std::string content(bytes_max + 1, '\0');
  std::size_t filled = 0;
  while (filled < content.size()) {
    const ssize_t count = ::read(file.get(), content.data() + filled, content.size() - filled);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return last_system_error();
    if (count == 0) break;
    filled += static_cast<std::size_t>(count);
  }
  if (filled > bytes_max) return BaseError::limit_exceeded;
  content.resize(filled);
  return content;
}

Result<void> write_file_atomically(const std::string& path, const std::string& content,
                                   unsigned mode) {
  const std::string temporary = path + ".new";
  ::unlink(temporary.c_str());
  {
    const Descriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
    if (file.get() < 0) return last_system_error();
    if (::write(file.get(), content.data(), content.size()) !=
            static_cast<ssize_t>(content.size()) ||
        ::fsync(file.get()) != 0) {
      return last_system_error();
    }
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) return last_system_error();
  return sync_directory(path);
}

void make_parent_directory(const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash != std::string::npos && slash > 0) ::mkdir(path.substr(0, slash).c_str(), 0755);
}

Identity load_identity(const std::string& data_dir, RandomSource& random) {
  const std::string path = data_dir + "/identity";
  const auto text = read_file(path, 256);
  if (text) {
    const auto seed = from_hex(trimmed(*text));
    if (!seed || seed->size() != 32) {
      throw StartError(
          1, path + " does not hold 64 hex digits; restore it, or remove it to get a new node id");
    }
    return Identity(SecretBytes<32>(std::span<const std::byte, 32>(*seed)));
  }
  if (text.error() != boost::system::errc::no_such_file_or_directory) {
    throw StartError(1, "cannot read " + path + ": " + text.error().message());
  }
  const Identity identity = Identity::generate(random);
  const auto written = write_file_atomically(path, to_hex(identity.seed().view()) + "\n", 0600);
  if (!written) throw StartError(1, "cannot write " + path + ": " + written.error().message());
  return identity;
}

std::uint64_t next_incarnation(const std::string& data_dir, std::uint64_t wall_ms) {
  const std::string path = data_dir + "/incarnation";
  std::uint64_t persisted = 0;
  const auto text = read_file(path, 64);
  if (text) {
    const std::string digits = trimmed(*text);
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), persisted);
    // A file that a full disk left empty costs nothing: the wall clock stands in.
    if (error != std::errc{} || end != digits.data() + digits.size()) persisted = 0;
  }
  const std::uint64_t next = std::max(persisted + 1, wall_ms);
  const auto written = save_incarnation(data_dir, next);
  if (!written) throw StartError(1, "cannot write " + path + ": " + written.error().message());
  return next;
}

Result<void> save_incarnation(const std::string& data_dir, std::uint64_t incarnation) {
  return write_file_atomically(data_dir + "/incarnation", std::to_string(incarnation) + "\n", 0644);
}

KeyRing load_keys(const std::vector<std::string>& files, const std::string& place) {
  KeyRing keys;
  for (const auto& file : files) {
    const std::string where = place + ": cluster.key_files: " + file;
    const auto text = read_file(file, 256);
    if (!text) {
      throw StartError(2, where + ": " + text.error().message() +
                              " (make one with: waggle keygen " + file + ")");
    }
    const auto key = ClusterKey::parse(*text);
    if (!key)
      throw StartError(2, where + ": is not base64 of 32 bytes (make one with `waggle keygen`)");
    if (!keys.empty() && keys.front().name() == key->name()) {
      const bool same = keys.front().to_base64() == key->to_base64();
      throw StartError(2, where +
                              (same ? ": is the key of " : ": has the same name as the key of ") +
                              files.front() + " (make another one with `waggle keygen`)");
    }
    keys.push_back(*key);
  }
  return keys;
}

}  // namespace waggle::node
