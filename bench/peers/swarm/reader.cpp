// A client of the bench: gets one blob over HTTP once it is told to, hashes it as it comes, keeps
// nothing. Like containerd it resumes with a range when a body is cut.
//   reader URL SIZE     waits for a line on stdin; then one JSON line on stdout
// {"ended", "first_byte": seconds since the epoch, "worst_gap": s, "resumes", "digest"}, or
// {"error"}.
#include <curl/curl.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

constexpr int attempts = 5;
constexpr long buffer_bytes = 256 * 1024;

double now() {
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration<double>(since).count();
}

struct Reading {
  EVP_MD_CTX* hash = EVP_MD_CTX_new();
  std::uint64_t got = 0;
  double last = 0;
  double first_byte = 0;
  double worst_gap = 0;
};

std::size_t take(char* data, std::size_t, std::size_t size, void* context) {
  auto& reading = *static_cast<Reading*>(context);
  EVP_DigestUpdate(reading.hash, data, size);
  const double at = now();
  if (reading.first_byte == 0) reading.first_byte = at;
  reading.worst_gap = std::max(reading.worst_gap, at - reading.last);
  reading.last = at;
  reading.got += size;
  return size;
}

std::string digest_of(EVP_MD_CTX* hash) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes;
  unsigned size = 0;
  EVP_DigestFinal_ex(hash, bytes.data(), &size);
  std::string text = "sha256:";
  for (unsigned i = 0; i < size; ++i) {
    std::array<char, 3> hex;
    std::snprintf(hex.data(), hex.size(), "%02x", bytes[i]);
    text += hex.data();
  }
  return text;
}

}  // namespace

int main(int count, char** words) {
  if (count != 3) {
    std::fprintf(stderr, "usage: reader URL SIZE\n");
    return 2;
  }
  const std::uint64_t size = std::strtoull(words[2], nullptr, 10);
  Reading reading;
  EVP_DigestInit_ex(reading.hash, EVP_sha256(), nullptr);
  std::array<char, CURL_ERROR_SIZE> error{};
  CURL* curl = curl_easy_init();
  curl_easy_setopt(curl, CURLOPT_URL, words[1]);
  curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, buffer_bytes);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error.data());
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &reading);
  if (std::getchar() == EOF) return 1;
  reading.last = now();
  int resumes = 0;
  for (; resumes < attempts; ++resumes) {
    curl_easy_setopt(curl, CURLOPT_RESUME_FROM_LARGE, static_cast<curl_off_t>(reading.got));
    curl_easy_perform(curl);
    if (reading.got >= size) break;
  }
  if (reading.got != size) {
    std::printf("{\"error\": \"%llu bytes came: %s\"}\n",
                static_cast<unsigned long long>(reading.got), error.data());
    return 1;
  }
  std::printf(
      "{\"ended\": %.6f, \"first_byte\": %.6f, \"worst_gap\": %.6f, \"resumes\": %d, "
      "\"digest\": \"%s\"}\n",
      reading.last, reading.first_byte, reading.worst_gap, resumes,
      digest_of(reading.hash).c_str());
  return 0;
}
