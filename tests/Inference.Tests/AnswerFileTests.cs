using SorsaOrt.Data;

namespace SorsaOrt.Inference.Tests;

public sealed class AnswerFileTests
{
    private static readonly Dictionary<string, string> Settings = new() { ["metric"] = "gsm8k", ["model"] = "abc" };

    private static ScoredAnswer Answer(int row) => new(row, "p", "a\n#### 1", "1", "1", true, 5);

    /// <summary>A place that not even root may write to: the work fails, as with every other output; it is no bad input.</summary>
    [Fact]
    public void PlaceWithoutPermission_IsAFailedWrite()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "needs /sys");
        var failure = Assert.Throws<IOException>(() => AnswerFile.Open("/sys/sorsa-answers/answers.jsonl", Settings, startAnew: false));
        Assert.Contains("/sys/sorsa-answers", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void SecondStart_FindsTheAnswers_WithoutALineThatWasCut()
    {
        string folder = Directory.CreateTempSubdirectory("sorsa-").FullName;
        try
        {
            string path = Path.Combine(folder, "answers.jsonl");
            using (var file = AnswerFile.Open(path, Settings, startAnew: false))
            {
                file.Add(Answer(1));
                file.Add(Answer(3));
            }
            File.AppendAllText(path, "{\"row\": 4, \"pro");
            using (var again = AnswerFile.Open(path, Settings, startAnew: false))
            {
                Assert.Equal([1, 3], again.Known.Keys.Order());
                Assert.Equal(Answer(3), again.Known[3]);
                again.Add(Answer(4));
            }
            Assert.Equal(4, File.ReadAllLines(path).Length);
            var other = new Dictionary<string, string>(Settings) { ["model"] = "other" };
            Assert.Contains("model", Assert.Throws<DataFormatException>(() => AnswerFile.Open(path, other, startAnew: false)).Message, StringComparison.Ordinal);
            Assert.Equal(4, File.ReadAllLines(path).Length);
            File.WriteAllText(path, "something else\n");
            Assert.Throws<DataFormatException>(() => AnswerFile.Open(path, Settings, startAnew: false));
            Assert.Equal("something else\n", File.ReadAllText(path));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
