// Appending and rewriting.
#include "node/told_log_driver.hpp"

#include "base/limits.hpp"
#include "base/siphash.hpp"
#include "node/state_files_driver.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace waggle::node {
namespace {

constexpr std::string_view magic = "waggle-told-1\n";
constexpr std::size_t growth_before_rewrite = 4;
constexpr std::size_t rewrite_bytes_min = 256 * limits::KiB;

boost::system::error_code last_error() { return {errno, boost::system::system_category()}; }

Bytes header_of(const std::string& cluster_name) {
  Bytes header = to_bytes(as_bytes(magic));
  append(header, IdKey::for_cluster(cluster_name).bytes);  // ids of another cluster mean nothing
  return header;
}

}  // namespace

Result<ToldLogFile> ToldLogFile::open(const std::string& data_dir,
                                      const std::string& cluster_name) {
  ToldLogFile file(data_dir + "/told", header_of(cluster_name));
  const auto content = read_file(file.path_, limits::told_file_bytes_max);
  const bool is_absent =
      !content && content.error() == boost::system::errc::no_such_file_or_directory;
  if (!content && !is_absent && content.error() != BaseError::limit_exceeded) {
    return content.error();
  }
  if (content) {
    const ByteView bytes = as_bytes(*content);
    const std::size_t begin = file.header_.size();
    const bool is_ours = bytes.size() >= begin &&
                         std::equal(file.header_.begin(), file.header_.end(), bytes.begin());
    if (is_ours) file.state_ = read_told(bytes.subspan(begin)).state;
  }
  if (const auto written = file.rewrite(); !written) return written.error();
  return file;
}

ToldLogFile::ToldLogFile(ToldLogFile&& other) noexcept
    : path_(std::move(other.path_)),
      header_(std::move(other.header_)),
      state_(std::move(other.state_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      bytes_(other.bytes_),
      rewrite_at_(other.rewrite_at_) {}

ToldLogFile::~ToldLogFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<void> ToldLogFile::append(const gossip::LogTold& change) {
  state_.apply(change);
  const Bytes bytes = encode_told(change);
  if (descriptor_ < 0 || bytes_ + bytes.size() > rewrite_at_) return rewrite();
  if (::write(descriptor_, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
    // What follows half a change would not be read: the whole is written at the next one.
    const auto error = last_error();
    ::close(std::exchange(descriptor_, -1));
    return error;
  }
  bytes_ += bytes.size();
  return {};
}

Result<void> ToldLogFile::rewrite() {
  Bytes content = header_;
  if (state_.log()) waggle::append(content, encode_told(state_.whole()));
  if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
  const std::string text(reinterpret_cast<const char*>(content.data()), content.size());
  if (const auto written = write_file_atomically(path_, text, 0644); !written) return written;
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (descriptor_ < 0) return last_error();
  bytes_ = content.size();
  rewrite_at_ = std::max(rewrite_bytes_min, growth_before_rewrite * content.size());
  return {};
}

}  // namespace waggle::node
