// Reading, writing and spoiling recordings.
#include "seeds.hpp"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <stdexcept>

namespace waggle::garbage {
namespace {

void put(std::ofstream& out, char kind, const Blob& bytes) {
  const auto size = static_cast<std::uint16_t>(bytes.size());
  const char head[3] = {kind, static_cast<char>(size & 0xffU), static_cast<char>(size >> 8U)};
  out.write(head, sizeof head);
  out.write(reinterpret_cast<const char*>(bytes.data()), size);
}

}  // namespace

Kind kind_of(const std::string& name) {
  static const std::map<std::string, Kind> kinds = {
      {"random", Kind::random},     {"truncated", Kind::truncated}, {"flipped", Kind::flipped},
      {"replayed", Kind::replayed}, {"late", Kind::late},           {"oversized", Kind::oversized},
      {"silent", Kind::silent}};
  const auto found = kinds.find(name);
  if (found == kinds.end()) throw std::runtime_error("no kind of garbage: " + name);
  return found->second;
}

Seeds Seeds::load(const std::string& path) {
  Seeds seeds;
  std::ifstream in(path, std::ios::binary);
  char head[3];
  while (in.read(head, sizeof head)) {
    const std::size_t size = static_cast<unsigned char>(head[1]) |
                             static_cast<std::size_t>(static_cast<unsigned char>(head[2])) << 8U;
    Blob bytes(size);
    in.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size));
    if (size > 0) (head[0] == 'd' ? seeds.datagrams : seeds.streams).push_back(std::move(bytes));
  }
  if (seeds.datagrams.empty() || seeds.streams.empty()) {
    throw std::runtime_error(path + " holds no datagrams or no streams");
  }
  return seeds;
}

void Seeds::save(const std::string& path) const {
  std::ofstream out(path + ".new", std::ios::binary);
  for (const Blob& datagram : datagrams) put(out, 'd', datagram);
  for (const Blob& stream : streams) put(out, 's', stream);
  out.close();
  if (!out || std::rename((path + ".new").c_str(), path.c_str()) != 0) {
    throw std::runtime_error("cannot write " + path);
  }
}

void make(Kind kind, const std::vector<Blob>& seeds, const Reach& reach, std::mt19937_64& random,
          Blob& out) {
  const auto below = [&](std::size_t count) { return static_cast<std::size_t>(random() % count); };
  const auto flip = [&](std::size_t first, std::size_t end) {
    if (first < end) out[first + below(end - first)] ^= static_cast<unsigned char>(1U << below(8));
  };
  const Blob& seed = seeds[below(seeds.size())];
  const std::size_t spoilt = std::min(seed.size(), reach.spoilt);
  switch (kind) {
    case Kind::random:
      out.resize(1 + below(reach.most));
      for (std::size_t i = 0; i < out.size(); i += 8) {
        const std::uint64_t word = random();
        for (std::size_t j = i; j < out.size() && j < i + 8; ++j) {
          out[j] = static_cast<unsigned char>(word >> 8U * (j - i));
        }
      }
      break;
    case Kind::truncated:
      out.assign(seed.begin(), seed.begin() + static_cast<std::ptrdiff_t>(below(spoilt)));
      break;
    case Kind::flipped:
      out = seed;
      // The header is looked at first, so it is spoilt as often as all the rest.
      flip(0, below(2) == 0 ? spoilt : std::min<std::size_t>(28, spoilt));
      break;
    case Kind::late:
      out = seed;
      flip(reach.spoilt, seed.size());
      break;
    case Kind::replayed:
      out = seed;
      break;
    case Kind::oversized:
      out = seed;
      for (std::size_t i = 6; i < 8 && i < out.size(); ++i)
        out[i] = 0xff;  // a stream's first length
      out.resize(reach.most, 0x5a);
      break;
    case Kind::silent:
      out.clear();
      break;
  }
}

}  // namespace waggle::garbage
