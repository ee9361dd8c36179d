using System.Text.Json;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Trainer.Tests;

public sealed class LearningRateScheduleTests
{
    [Theory]
    [InlineData("trajectory-sorsa-gamma")]
    [InlineData("trajectory-sorsa-gamma0")]
    public void Cosine_GivesTheRatesOfTheReference(string run)
    {
        using var json = JsonDocument.Parse(File.ReadAllText(Paths.Fixture("nano-llama", "goldens", run, "run.json")));
        var options = json.RootElement.GetProperty("run");
        var steps = json.RootElement.GetProperty("steps").EnumerateArray().ToArray();
        Assert.Equal("cosine", options.GetProperty("schedule").GetString());
        var schedule = new LearningRateSchedule(ScheduleShape.Cosine, options.GetProperty("lr").GetDouble(), steps.Length, options.GetProperty("warmup_steps").GetInt32());

        for (var t = 0; t < steps.Length; t++)
            Assert.Equal(steps[t].GetProperty("lr").GetDouble(), schedule.Rate(t), 1e-15);
    }

    [Theory]
    [InlineData(ScheduleShape.Cosine)]
    [InlineData(ScheduleShape.Linear)]
    [InlineData(ScheduleShape.Constant)]
    public void FirstRateIsZero_AndThePeakComesAfterWarmup(ScheduleShape shape)
    {
        var schedule = new LearningRateSchedule(shape, 2e-3, 20, 5);

        Assert.Equal(0, schedule.Rate(0));
        Assert.Equal(2e-3 * 4 / 5, schedule.Rate(4));
        Assert.Equal(2e-3, schedule.Rate(5));
    }

    [Fact]
    public void Linear_FallsByTheSameAmountEachStep()
    {
        var schedule = new LearningRateSchedule(ScheduleShape.Linear, 1, 12, 2);

        Assert.Equal([1, 0.9, 0.8, 0.7], Enumerable.Range(2, 4).Select(t => Math.Round(schedule.Rate(t), 12)));
        Assert.Equal(0.1, schedule.Rate(11), 1e-12);
        Assert.Equal(0, schedule.Rate(12));
    }

    [Theory]
    [InlineData(100, 0.03, 3)]
    [InlineData(40, 0.03, 2)]
    [InlineData(40, 0.0, 0)]
    [InlineData(40, 1.0, 1)]
    [InlineData(40, 7.0, 7)]
    public void Warmup_IsAShareRoundedUpOrSteps(long total, double warmup, long expected) =>
        Assert.Equal(expected, new LearningRateSchedule(ScheduleShape.Cosine, 1, total, warmup).WarmupSteps);

    [Fact]
    public void WithoutWarmup_TheFirstRateIsThePeak() =>
        Assert.Equal(0.5, new LearningRateSchedule(ScheduleShape.Cosine, 0.5, 10, 0).Rate(0));

    [Fact]
    public void WarmupLongerThanTheRun_KeepsRising()
    {
        var schedule = new LearningRateSchedule(ScheduleShape.Cosine, 1, 3, 10);

        Assert.Equal([0, 0.1, 0.2], Enumerable.Range(0, 3).Select(t => schedule.Rate(t)));
    }
}
