using Xunit;

namespace SorsaOrt.Trainer.Tests;

public sealed class TrainingOptionsTests
{
    [Fact]
    public void Defaults_AreThoseOfTheCommandLine()
    {
        var options = new TrainingOptions().Validated();

        Assert.Equal((2, 64, 512), (options.BatchSize, options.Accumulation, options.MaxLength));
        Assert.Equal((3e-5, 4e-4, 0.0, 1.0), (options.LearningRate, options.Gamma, options.WeightDecay, options.MaxGradNorm));
        Assert.Equal((0.9, 0.999, 1e-8, 0.03), (options.Beta1, options.Beta2, options.Epsilon, options.Warmup));
        Assert.Equal((ScheduleShape.Cosine, LossAverage.Tokens, true, false), (options.Schedule, options.LossAverage, options.Shuffle, options.Packing));
    }

    [Fact]
    public void EverythingWrong_IsReportedAtOnce()
    {
        var wrong = new TrainingOptions
        {
            Epochs = 0,
            MaxSteps = 0,
            BatchSize = 0,
            Accumulation = -1,
            MaxLength = 1,
            LearningRate = double.NaN,
            Gamma = -1,
            WeightDecay = -0.5,
            Beta1 = 1,
            Beta2 = 1.5,
            Epsilon = 1e-60,
            MaxGradNorm = -1,
            Warmup = 2.5,
            SaveEvery = 0,
            Keep = 0,
            EvalEvery = 0,
            EarlyStop = 0,
        };

        Assert.Equal(
            "--epochs is 0, but must be above 0; --max-steps is 0, but must be at least 1; --batch-size is 0, but must be at least 1; "
            + "--accumulation is -1, but must be at least 1; --max-length is 1, but must be at least 2; --lr is NaN, but must be above 0; "
            + "--gamma is -1, but must be at least 0; --weight-decay is -0.5, but must be at least 0; the first of --betas is 1, but must be from 0 to below 1; "
            + "the second of --betas is 1.5, but must be from 0 to below 1; --eps is 1E-60, but must be above 0 as a 32-bit float; "
            + "--max-grad-norm is -1, but must be at least 0 (0: no clipping); --warmup is 2.5, but must be a share below 1 or whole steps; "
            + "--save-every is 0, but must be at least 1; --keep is 0, but must be at least 1; --eval-every is 0, but must be at least 1; "
            + "--early-stop is 0, but must be at least 1.",
            Assert.Throws<ConfigException>(wrong.Validated).Message);
    }

    [Theory]
    [InlineData(10, 4, 1, 2)]      // two batches left over are dropped
    [InlineData(10, 4, 3, 6)]      // the reference counts ⌊10/4⌋ steps an epoch
    [InlineData(10, 4, 0.5, 1)]
    [InlineData(10, 4, 0.6, 2)]    // ⌈0.6·2⌉
    [InlineData(3, 4, 1, 1)]       // never no step at all
    [InlineData(3, 4, 4, 3)]       // 12 batches make 3 steps of 4
    public void TotalSteps_FollowFromEpochs(long batches, int accumulation, double epochs, long expected) =>
        Assert.Equal(expected, new TrainingOptions { Accumulation = accumulation, Epochs = epochs }.TotalSteps(batches));

    [Fact]
    public void MaxSteps_WinOverEpochs() => Assert.Equal(7, new TrainingOptions { MaxSteps = 7, Epochs = 100 }.TotalSteps(5));
}
