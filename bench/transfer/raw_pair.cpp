// The least that moving a file in sealed records can cost: a sender (pread, AES-256-GCM, write) and
// a receiver (read, open, sha256, pwrite), one process and one thread each, one TCP stream on
// loopback. bench/transfer/pair.py compiles it and runs it beside two waggled. Prints one JSON
// object.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t data_bytes = 64 * 1024;
constexpr std::size_t tag_bytes = 16;
constexpr std::size_t record_bytes = data_bytes + tag_bytes;
using Record = std::vector<unsigned char>;

void require(bool held, const char* what) {
  if (!held) throw std::runtime_error(what);
}

double cpu_seconds(int who) {
  rusage use{};
  ::getrusage(who, &use);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(use.ru_utime) + seconds(use.ru_stime);
}

/// AES-256-GCM with a counter as nonce; the key is no secret here.
class Cipher {
 public:
  explicit Cipher(bool sealing) : context_(EVP_CIPHER_CTX_new()) {
    const std::array<unsigned char, 32> key{1, 2, 3};
    require(EVP_CipherInit_ex(context_, EVP_aes_256_gcm(), nullptr, key.data(), nullptr,
                              sealing ? 1 : 0) == 1,
            "cipher");
  }
  ~Cipher() { EVP_CIPHER_CTX_free(context_); }
  Cipher(const Cipher&) = delete;
  Cipher& operator=(const Cipher&) = delete;

  void seal(unsigned char* record, std::size_t size) {
    next();
    int done = 0;
    bool good = EVP_CipherUpdate(context_, record, &done, record, static_cast<int>(size)) == 1;
    good = good && EVP_CipherFinal_ex(context_, record + size, &done) == 1;
    good =
        good && EVP_CIPHER_CTX_ctrl(context_, EVP_CTRL_AEAD_GET_TAG, tag_bytes, record + size) == 1;
    require(good, "seal");
  }
  void open(unsigned char* record, std::size_t size) {
    next();
    int done = 0;
    bool good = EVP_CIPHER_CTX_ctrl(context_, EVP_CTRL_AEAD_SET_TAG, tag_bytes, record + size) == 1;
    good = good && EVP_CipherUpdate(context_, record, &done, record, static_cast<int>(size)) == 1;
    std::array<unsigned char, tag_bytes> rest{};
    require(good && EVP_CipherFinal_ex(context_, rest.data(), &done) == 1, "open");
  }

 private:
  void next() {
    std::array<unsigned char, 12> nonce{};
    for (std::size_t i = 0; i < 8; ++i) {
      nonce[i] = static_cast<unsigned char>(counter_ >> (8 * i));
    }
    ++counter_;
    require(EVP_CipherInit_ex(context_, nullptr, nullptr, nullptr, nonce.data(), -1) == 1, "nonce");
  }
  EVP_CIPHER_CTX* context_;
  std::uint64_t counter_ = 0;
};

class Hash {
 public:
  Hash() : context_(EVP_MD_CTX_new()) {
    require(EVP_DigestInit_ex(context_, EVP_sha256(), nullptr) == 1, "hash");
  }
  ~Hash() { EVP_MD_CTX_free(context_); }
  Hash(const Hash&) = delete;
  Hash& operator=(const Hash&) = delete;

  void update(const unsigned char* bytes, std::size_t size) {
    require(EVP_DigestUpdate(context_, bytes, size) == 1, "hash");
  }
  std::string finish() {
    std::array<unsigned char, 32> digest{};
    require(EVP_DigestFinal_ex(context_, digest.data(), nullptr) == 1, "hash");
    std::string text = "sha256:";
    for (const unsigned char byte : digest) {
      text += "0123456789abcdef"[byte >> 4U];
      text += "0123456789abcdef"[byte & 15U];
    }
    return text;
  }

 private:
  EVP_MD_CTX* context_;
};

std::uint64_t file_size(int file) {
  struct stat stat {};
  require(::fstat(file, &stat) == 0, "stat");
  return static_cast<std::uint64_t>(stat.st_size);
}

void send_file(const char* path, std::uint16_t port) {
  const int file = ::open(path, O_RDONLY | O_CLOEXEC);
  require(file >= 0, "source");
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons(port);
  require(::connect(socket, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0, "connect");
  Cipher cipher(true);
  Record record(record_bytes);
  const std::uint64_t size = file_size(file);
  for (std::uint64_t at = 0; at < size;) {
    const ssize_t got = ::pread(file, record.data(), data_bytes, static_cast<off_t>(at));
    require(got > 0, "pread");
    at += static_cast<std::uint64_t>(got);
    cipher.seal(record.data(), static_cast<std::size_t>(got));
    const std::size_t whole = static_cast<std::size_t>(got) + tag_bytes;
    for (std::size_t sent = 0; sent < whole;) {
      const ssize_t more = ::write(socket, record.data() + sent, whole - sent);
      require(more > 0, "write");
      sent += static_cast<std::size_t>(more);
    }
  }
  ::close(socket);
  ::close(file);
}

/// The sha256 of what came, in hex.
std::string receive_file(int listener, const char* path, std::uint64_t size) {
  const int socket = ::accept(listener, nullptr, nullptr);
  require(socket >= 0, "accept");
  const int file = ::open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  require(file >= 0 && ::ftruncate(file, static_cast<off_t>(size)) == 0, "destination");
  Cipher cipher(false);
  Hash hash;
  Record record(record_bytes);
  for (std::uint64_t at = 0; at < size;) {
    const auto want = std::min<std::uint64_t>(data_bytes, size - at);
    const ssize_t got = ::recv(socket, record.data(), want + tag_bytes, MSG_WAITALL);
    require(got == static_cast<ssize_t>(want + tag_bytes), "read");
    cipher.open(record.data(), want);
    hash.update(record.data(), want);
    require(
        ::pwrite(file, record.data(), want, static_cast<off_t>(at)) == static_cast<ssize_t>(want),
        "pwrite");
    at += want;
  }
  ::close(file);
  ::close(socket);
  return hash.finish();
}

int run(const char* source, const char* destination) {
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  require(::bind(listener, reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0, "bind");
  require(::listen(listener, 1) == 0, "listen");
  socklen_t length = sizeof at;
  ::getsockname(listener, reinterpret_cast<sockaddr*>(&at), &length);
  struct stat stat {};
  require(::stat(source, &stat) == 0, "source");
  const auto size = static_cast<std::uint64_t>(stat.st_size);

  const double before = cpu_seconds(RUSAGE_SELF);
  const auto began = Clock::now();
  const pid_t sender = ::fork();
  require(sender >= 0, "fork");
  if (sender == 0) {
    send_file(source, ntohs(at.sin_port));
    std::_Exit(0);
  }
  const std::string digest = receive_file(listener, destination, size);
  const std::chrono::duration<double> elapsed = Clock::now() - began;
  const double receive_cpu = cpu_seconds(RUSAGE_SELF) - before;
  int status = 0;
  ::waitpid(sender, &status, 0);
  require(status == 0, "the sender failed");
  std::printf(
      "{\"bytes\": %llu, \"seconds\": %.4f, \"send_cpu\": %.4f, \"receive_cpu\": %.4f, "
      "\"digest\": \"%s\"}\n",
      static_cast<unsigned long long>(size), elapsed.count(), cpu_seconds(RUSAGE_CHILDREN),
      receive_cpu, digest.c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: raw_pair SOURCE DESTINATION\n");
    return 2;
  }
  try {
    return run(argv[1], argv[2]);
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "raw_pair: %s failed\n", failure.what());
    return 1;
  }
}
