using System.Text.Json;
using FsCheck.Xunit;
using SorsaOrt.TestSupport;

namespace SorsaOrt.Data.Tests;

public sealed class BatcherTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    /// <summary>n rows; row i has 2 + i mod 5 tokens, all of id i + 1.</summary>
    private RowFile Rows(int n, RowEncoder encoder)
    {
        var lines = Enumerable.Range(0, n).Select(i =>
        {
            string ids = "[" + string.Join(", ", Enumerable.Repeat(i + 1, 2 + i % 5)) + "]";
            return $"{{\"input_ids\": {ids}, \"labels\": {ids}}}";
        });
        return RowFile.Open(_folder.Write($"rows-{n}.jsonl", string.Join('\n', lines)), encoder.Check);
    }

    private static RowEncoder Encoder() => new(null, Template.None, 16, 1024);

    [Fact]
    public void MicroBatch_PadsOnTheRight_AndListsWhereLabelsArePredicted()
    {
        using var file = RowFile.Open(_folder.Write("two.jsonl", """
            {"input_ids": [1, 7, 8, 9], "labels": [1, -100, 8, 9]}

            {"input_ids": [1, 5], "labels": [-100, 5]}
            """));
        var batch = new Batcher(file, Encoder(), new BatchOptions { Shuffle = false }).ReadMicroBatch(0);
        Assert.Equal((2, 4, 6, 3), (batch.BatchSize, batch.SequenceLength, batch.TokenCount, batch.LabelCount));
        Assert.Equal([1, 7, 8, 9, 1, 5, 0, 0], batch.InputIds.ToArray());
        Assert.Equal([1, 1, 1, 1, 1, 1, 0, 0], batch.AttentionMask.ToArray());
        Assert.Equal([0, 1, 2, 3, 0, 1, 2, 3], batch.PositionIds.ToArray());
        Assert.Equal([1, -100, 8, 9, -100, 5, -100, -100], batch.Labels.ToArray());
        Assert.Equal([1, 2, 4], batch.LabelPositions.ToArray());
        Assert.Equal([8, 9, 5], batch.LabelIds.ToArray());
        Assert.Equal([1, 3], batch.Rows.ToArray());
    }

    [Fact]
    public void MicroBatch_UsesItsBuffersAgain()
    {
        var encoder = Encoder();
        using var file = Rows(23, encoder);
        var batcher = new Batcher(file, encoder, new BatchOptions { BatchSize = 3, Seed = 5 });
        var reused = new Batch();
        for (long k = 0; k < 20; k++)
        {
            batcher.ReadMicroBatch(k, reused);
            AssertSame(batcher.ReadMicroBatch(k), reused);
        }
    }

    [Fact]
    public void MicroBatch_PadsToAMultiple_ButNotBeyondTheMaximumLength()
    {
        var encoder = Encoder();
        using var file = Rows(5, encoder);
        Assert.Equal(8, new Batcher(file, encoder, new BatchOptions { BatchSize = 5, PadToMultipleOf = 8 }).ReadMicroBatch(0).SequenceLength);
        Assert.Equal(16, new Batcher(file, encoder, new BatchOptions { BatchSize = 5, PadToMultipleOf = 100 }).ReadMicroBatch(0).SequenceLength);
    }

    [Theory]
    [InlineData(10, 2, 2, 5, 2)]
    [InlineData(11, 2, 4, 6, 1)]
    [InlineData(3, 2, 64, 2, 1)]   // fewer micro-batches than a step takes: steps run over epochs
    public void Steps_FollowTheReference(int rows, int batchSize, int accumulation, long microBatches, long steps)
    {
        var encoder = Encoder();
        using var file = Rows(rows, encoder);
        var batcher = new Batcher(file, encoder, new BatchOptions { BatchSize = batchSize, Accumulation = accumulation });
        Assert.Equal((microBatches, steps), (batcher.MicroBatchesPerEpoch, batcher.StepsPerEpoch));
        Assert.Equal(3 * steps, batcher.TotalSteps(3));
        Assert.Equal((steps + 1) / 2, batcher.TotalSteps(0.5));
        Assert.Equal(2.0, batcher.EpochAt(2 * microBatches));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Epoch_HoldsEveryRowOnce_WithAShortLastBatch(bool shuffle)
    {
        var encoder = Encoder();
        using var file = Rows(23, encoder);
        var batcher = new Batcher(file, encoder, new BatchOptions { BatchSize = 5, Shuffle = shuffle, Seed = 1 });
        int[][] epochs = [.. Enumerable.Range(0, 2).Select(e => Enumerable.Range(0, 5).SelectMany(k => batcher.ReadMicroBatch(e * 5 + k).Rows.ToArray()).ToArray())];
        Assert.Equal(Enumerable.Range(1, 23), epochs[0].Order());
        Assert.Equal(Enumerable.Range(1, 23), epochs[1].Order());
        Assert.Equal(shuffle, !epochs[0].SequenceEqual(epochs[1]));
        Assert.Equal(!shuffle, epochs[0].SequenceEqual(Enumerable.Range(1, 23)));
        Assert.Equal(3, batcher.ReadMicroBatch(4).BatchSize);
    }

    [Fact]
    public void Resume_ReadsTheSameMicroBatches()
    {
        var encoder = new RowEncoder(Tokenizer.Load(Paths.TinyMath("tokenizer.model")), Template.Alpaca, 128, 1024);
        var options = new BatchOptions { BatchSize = 16, Seed = 42 };
        using var file = RowFile.Open(Paths.TinyMath("train.jsonl"), encoder.Check);
        var whole = new Batcher(file, encoder, options);
        var read = new Dictionary<long, Batch>();
        for (long k = 0; k < 130; k++)
            read.Add(k, whole.ReadMicroBatch(k));
        using var again = RowFile.Open(Paths.TinyMath("train.jsonl"), encoder.Check);
        var resumed = new Batcher(again, encoder, options);
        for (long k = 120; k < 130; k++)   // 125 micro-batches make an epoch
            AssertSame(read[k], resumed.ReadMicroBatch(k));
    }

    [Theory]
    [InlineData("train", 4)]
    [InlineData("gradient", 2)]
    [InlineData("gradient_padded", 2)]
    public void Goldens_ComeBackAsTheBatchesOfTheReference(string split, int batchSize)
    {
        using var json = JsonDocument.Parse(File.ReadAllBytes(Paths.Fixture("nano-llama", "goldens", "data.json")));
        var data = json.RootElement.GetProperty(split);
        long[][] ids = Nested(data.GetProperty("input_ids")), labels = Nested(data.GetProperty("labels")), mask = Nested(data.GetProperty("attention_mask"));
        var lines = ids.Select((_, i) => JsonSerializer.Serialize(new { input_ids = ids[i][..(int)mask[i].Sum()], labels = labels[i][..(int)mask[i].Sum()] }));
        var encoder = new RowEncoder(null, Template.None, 512, 512);
        using var file = RowFile.Open(_folder.Write("goldens.jsonl", string.Join('\n', lines)), encoder.Check);
        var batcher = new Batcher(file, encoder, new BatchOptions { BatchSize = batchSize, Shuffle = false });
        for (int k = 0; k < batcher.MicroBatchesPerEpoch; k++)
        {
            var batch = batcher.ReadMicroBatch(k);
            var rows = Enumerable.Range(k * batchSize, batch.BatchSize);
            Assert.Equal(rows.SelectMany(r => ids[r][..batch.SequenceLength]), batch.InputIds.ToArray());
            Assert.Equal(rows.SelectMany(r => labels[r][..batch.SequenceLength]), batch.Labels.ToArray());
            Assert.Equal(rows.SelectMany(r => mask[r][..batch.SequenceLength]), batch.AttentionMask.ToArray());
            Assert.Equal(rows.SelectMany(r => labels[r][1..]).Where(l => l != -100), batch.LabelIds.ToArray());
        }
    }

    [Fact]
    public void MicroBatch_PutsPackedSamplesIntoOneRow_NumberedAndCountedFromZero()
    {
        using var file = RowFile.Open(_folder.Write("three.jsonl", """
            {"input_ids": [1, 7, 8], "labels": [1, -100, 8]}
            {"input_ids": [2, 5], "labels": [2, 5]}
            {"input_ids": [3, 6], "labels": [3, 6]}
            """));
        var batch = new Batcher(file, Encoder(), new BatchOptions { Shuffle = false, Packed = [[0, 2], [1]] }).ReadMicroBatch(0);
        Assert.Equal((2, 5, 7, 3), (batch.BatchSize, batch.SequenceLength, batch.TokenCount, batch.LabelCount));
        Assert.Equal([1, 7, 8, 3, 6, 2, 5, 0, 0, 0], batch.InputIds.ToArray());
        Assert.Equal([1, 1, 1, 2, 2, 1, 1, 0, 0, 0], batch.AttentionMask.ToArray());
        Assert.Equal([0, 1, 2, 0, 1, 0, 1, 2, 3, 4], batch.PositionIds.ToArray());
        Assert.Equal([1, 3, 5], batch.LabelPositions.ToArray());   // the first label of a sample has nothing before it
        Assert.Equal([8, 6, 5], batch.LabelIds.ToArray());
        Assert.Equal([1, 3, 2], batch.Rows);
    }

    [Property]
    public bool Packing_HoldsEverySampleOnce_AndNoRowIsTooLong(byte[] sizes)
    {
        int[] lengths = [.. sizes.Select(s => 2 + s % 63)];
        int[][] rows = Packing.Of(lengths, 64);
        return rows.SelectMany(r => r).Order().SequenceEqual(Enumerable.Range(0, lengths.Length))
            && rows.All(r => r.Length > 0 && r.Sum(i => lengths[i]) <= 64)
            && rows.Select(r => r[0]).SequenceEqual(rows.Select(r => r[0]).Order());
    }

    [Fact]
    public void Packing_LeavesLittleRoom()
    {
        var random = new Random(1);
        int[] lengths = [.. Enumerable.Range(0, 5000).Select(_ => 60 + random.Next(240))];
        Assert.InRange(Packing.Of(lengths, 512).Length, lengths.Sum() / 512, 1.06 * lengths.Sum() / 512);
    }

    [Fact]
    public void SortedRows_KeepTheRowsOfAStep_AndPadLess()
    {
        var encoder = Encoder();
        using var file = Rows(101, encoder);
        var options = new BatchOptions { BatchSize = 2, Accumulation = 8, Seed = 3 };
        Batcher plain = new(file, encoder, options), sorted = new(file, encoder, options with { SortedRows = 16 });
        int padded = 0, paddedSorted = 0;
        for (int step = 0; step < 6; step++)
        {
            Batch[] ours = [.. Enumerable.Range(8 * step, 8).Select(k => plain.ReadMicroBatch(k))], theirs = [.. Enumerable.Range(8 * step, 8).Select(k => sorted.ReadMicroBatch(k))];
            Assert.Equal(ours.SelectMany(b => b.Rows).Order(), theirs.SelectMany(b => b.Rows).Order());
            padded += ours.Sum(b => b.BatchSize * b.SequenceLength - b.TokenCount);
            paddedSorted += theirs.Sum(b => b.BatchSize * b.SequenceLength - b.TokenCount);
        }
        Assert.True(2 * paddedSorted < padded, $"{paddedSorted} and {padded} tokens of padding");
    }

    [Property]
    public bool Permutation_HoldsEveryNumberOnce_AndDependsOnSeedAndEpochOnly(ushort length, ulong seed, uint epoch)
    {
        int[] order = new int[length % 3000], again = new int[order.Length];
        Permutation.Fill(order, seed, epoch);
        Permutation.Fill(again, seed, epoch);
        return order.SequenceEqual(again) && order.Order().SequenceEqual(Enumerable.Range(0, order.Length));
    }

    [Property]
    public bool Permutation_DiffersFromEpochToEpochAndSeedToSeed(ulong seed, uint epoch)
    {
        int[] one = new int[100], nextEpoch = new int[100], nextSeed = new int[100];
        Permutation.Fill(one, seed, epoch);
        Permutation.Fill(nextEpoch, seed, epoch + 1L);
        Permutation.Fill(nextSeed, unchecked(seed + 1), epoch);
        return !one.SequenceEqual(nextEpoch) && !one.SequenceEqual(nextSeed);
    }

    [Fact]
    public void Permutation_FavoursNoPlace()
    {
        int[,] counts = new int[4, 4];
        int[] order = new int[4];
        for (int epoch = 0; epoch < 40_000; epoch++)
        {
            Permutation.Fill(order, 7, epoch);
            for (int i = 0; i < 4; i++)
                counts[i, order[i]]++;
        }
        foreach (int count in counts)
            Assert.InRange(count, 9_500, 10_500);   // 10 000 expected, standard deviation 87
    }

    [Fact]
    public void Permutation_NeverChanges()
    {
        int[] order = new int[8];
        Permutation.Fill(order, 42, 3);
        Assert.Equal([5, 4, 6, 2, 1, 3, 7, 0], order);   // computed apart, from the description in Permutation: a change would break the resuming of runs
    }

    private static long[][] Nested(JsonElement rows) => [.. rows.EnumerateArray().Select(r => r.EnumerateArray().Select(x => x.GetInt64()).ToArray())];

    private static void AssertSame(Batch expected, Batch actual)
    {
        Assert.Equal(expected.InputIds.ToArray(), actual.InputIds.ToArray());
        Assert.Equal(expected.AttentionMask.ToArray(), actual.AttentionMask.ToArray());
        Assert.Equal(expected.PositionIds.ToArray(), actual.PositionIds.ToArray());
        Assert.Equal(expected.Labels.ToArray(), actual.Labels.ToArray());
        Assert.Equal(expected.LabelPositions.ToArray(), actual.LabelPositions.ToArray());
        Assert.Equal(expected.LabelIds.ToArray(), actual.LabelIds.ToArray());
        Assert.Equal(expected.Rows.ToArray(), actual.Rows.ToArray());
    }
}
