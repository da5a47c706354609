// A librdkafka producer for node/bench/bench.py.
//
//   load BROKERS TOPIC throughput RECORDS SIZE [CODEC]   every record acknowledged (acks=all); prints seconds
//   load BROKERS TOPIC latency RECORDS SIZE              one record in flight; prints each ack's microseconds
//
// With a codec, none among them, records are lines of words, another one each: what compresses as logs do.
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static long acked, failed;

static void delivered(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque) {
    (void)rk;
    (void)opaque;
    if (message->err) {
        failed++;
    } else {
        acked++;
    }
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value) {
    char reason[256];
    if (rd_kafka_conf_set(conf, name, value, reason, sizeof reason) != RD_KAFKA_CONF_OK) {
        fprintf(stderr, "%s\n", reason);
        exit(2);
    }
}

// Words from a vocabulary of 4096, each of 3 to 10 letters.
static void words(char *value, long size) {
    long at = 0;
    while (at < size) {
        unsigned word = (unsigned)rand() >> 7 & 4095, state = word * 2654435761u;
        for (unsigned left = 3 + word % 8; left > 0 && at < size; left--, at++) {
            value[at] = (char)('a' + (state >> 24) % 26);
            state = state * 1664525u + 1013904223u;
        }
        if (at < size) {
            value[at++] = ' ';
        }
    }
}

int main(int argc, char **argv) {
    if (argc != 6 && argc != 7) {
        fprintf(stderr, "load BROKERS TOPIC throughput|latency RECORDS SIZE [CODEC]\n");
        return 2;
    }
    int one_by_one = strcmp(argv[3], "latency") == 0;
    long records = atol(argv[4]), size = atol(argv[5]);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", argv[1]);
    set(conf, "acks", "all");
    set(conf, "linger.ms", one_by_one ? "0" : "5");
    set(conf, "queue.buffering.max.messages", "200000");
    set(conf, "socket.nagle.disable", "true");
    if (argc == 7) {
        set(conf, "compression.codec", argv[6]);
    }
    rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    char reason[256];
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, reason, sizeof reason);
    rd_kafka_topic_t *topic = rk ? rd_kafka_topic_new(rk, argv[2], NULL) : NULL;
    char *value = malloc((size_t)size);
    if (!topic || !value) {
        fprintf(stderr, "no producer: %s\n", reason);
        return 2;
    }
    // Bytes that do not compress and differ from record to record.
    for (long i = 0; i < size; i++) {
        value[i] = (char)(rand() >> 7);
    }
    double began = 0;
    // The first record finds the leader; it is not counted.
    for (long sent = -1; sent < records; sent++) {
        if (sent == 0) {
            began = seconds();
        }
        if (argc == 7) {
            words(value, size);
        }
        memcpy(value, &sent, sizeof sent);
        double asked = seconds();
        // Round robin by hand: the default sticks to a partition for a batch.
        int partition = one_by_one ? 0 : (int)((sent + 6) % 6);
        while (rd_kafka_produce(topic, partition, RD_KAFKA_MSG_F_COPY, value, (size_t)size, NULL, 0, NULL)) {
            rd_kafka_poll(rk, 10);
        }
        rd_kafka_poll(rk, 0);
        while ((one_by_one || sent < 0) && acked + failed < sent + 2) {
            rd_kafka_poll(rk, 100);
        }
        if (one_by_one && sent >= 0) {
            printf("%.1f\n", (seconds() - asked) * 1e6);
        }
    }
    while (acked + failed < records + 1) {
        rd_kafka_poll(rk, 100);
    }
    if (failed > 0) {
        fprintf(stderr, "%ld of %ld records failed\n", failed, records);
        return 1;
    }
    if (!one_by_one) {
        printf("%.6f\n", seconds() - began);
    }
    return 0;
}
