// Where things lie under the data directory, and what a name found there means. Pure text; layout: docs/cache-format.md.
#pragma once

#include "base/digest.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace waggle::cache {

/// blobs/<algorithm>/<2 hex>/<hex>, partial/<hex>-<origin hash>/, midstates/<hex>, pins/<hex>. The two algorithms' hex
/// differs in length, so names without the algorithm never collide.
class StorePaths {
 public:
  explicit StorePaths(std::string root) : root_(std::move(root)) {}

  [[nodiscard]] const std::string& root() const { return root_; }
  [[nodiscard]] std::string lock() const { return root_ + "/store.lock"; }
  [[nodiscard]] std::string blobs() const { return root_ + "/blobs"; }
  [[nodiscard]] std::string partials() const { return root_ + "/partial"; }
  [[nodiscard]] std::string sidecars() const { return root_ + "/midstates"; }
  [[nodiscard]] std::string pins() const { return root_ + "/pins"; }
  [[nodiscard]] std::string algorithm(DigestAlgorithm algorithm) const;
  [[nodiscard]] std::string blob_directory(const Digest& digest) const;
  [[nodiscard]] std::string blob(const Digest& digest) const;
  /// The origin enters as BLAKE2b-128, so that it may hold any characters.
  [[nodiscard]] std::string partial(const Digest& digest, std::string_view origin) const;
  [[nodiscard]] std::string sidecar(const Digest& digest) const;
  [[nodiscard]] std::string pin(const Digest& digest) const;

  /// The digest whose file in blobs/, midstates/ or pins/ is called `name`.
  [[nodiscard]] static std::optional<Digest> parse_hex(std::string_view name);
  /// True for the name of a partial's directory.
  [[nodiscard]] static bool is_partial_name(std::string_view name);
  /// True for a sidecar that was not yet renamed into place.
  [[nodiscard]] static bool is_temporary_name(std::string_view name);

 private:
  std::string root_;
};

}  // namespace waggle::cache
