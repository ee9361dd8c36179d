using System.Globalization;
using System.Text.Json.Serialization;
using SorsaOrt.Artifacts;
using SorsaOrt.Engines;

namespace SorsaOrt.Trainer;

/// <summary>What the loss of an optimizer step is the mean of.</summary>
[JsonConverter(typeof(StrictEnumConverter<LossAverage>))]
public enum LossAverage
{
    /// <summary>Over all label tokens of the step: accumulation equals one big batch.</summary>
    [JsonStringEnumMemberName("tokens")]
    Tokens,

    /// <summary>Over its micro-batches' own means, as the reference does.</summary>
    [JsonStringEnumMemberName("batches")]
    Batches,
}

/// <summary>The numbers of a training run. Defaults are those of the published SORSA run where it states them.</summary>
public sealed record TrainingOptions
{
    private const double MostEpochs = 1e6;

    /// <summary>Passes over the data, above 0, fractions allowed. Ignored where <see cref="MaxSteps"/> is given.</summary>
    public double Epochs { get; init; } = 1;

    /// <summary>Optimizer steps of the run, at least 1; null: follows from <see cref="Epochs"/>.</summary>
    public long? MaxSteps { get; init; }

    /// <summary>Rows of a micro-batch, at least 1.</summary>
    public int BatchSize { get; init; } = 2;

    /// <summary>Micro-batches K of an optimizer step, at least 1.</summary>
    public int Accumulation { get; init; } = 64;

    /// <summary>Tokens that a row is cut to, at least 2.</summary>
    public int MaxLength { get; init; } = 512;

    /// <summary>Whether the order of rows changes from epoch to epoch.</summary>
    public bool Shuffle { get; init; } = true;

    /// <summary>Whether several samples share a row of <see cref="MaxLength"/> tokens.</summary>
    public bool Packing { get; init; }

    /// <summary>Whether the rows of a step are put together by length, so that less is padding; it changes no gradient (only with <see cref="Shuffle"/> and a mean over tokens).</summary>
    public bool SortByLength { get; init; } = true;

    /// <summary>Peak learning rate η, above 0.</summary>
    public double LearningRate { get; init; } = 3e-5;

    /// <summary>Weight γ of the orthonormality term, at least 0; it acts as γ/(η·K).</summary>
    public double Gamma { get; init; } = 4e-4;

    /// <summary>Decoupled weight decay, at least 0.</summary>
    public double WeightDecay { get; init; }

    /// <summary>Decay β₁ of the first moment, from 0 to below 1.</summary>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>Decay β₂ of the second moment, from 0 to below 1.</summary>
    public double Beta2 { get; init; } = 0.999;

    /// <summary>AdamW's ε, above 0.</summary>
    public double Epsilon { get; init; } = 1e-8;

    /// <summary>Gradient norm that larger gradients are scaled to, at least 0; 0 turns clipping off.</summary>
    public double MaxGradNorm { get; init; } = 1;

    /// <summary>How the learning rate falls.</summary>
    public ScheduleShape Schedule { get; init; } = ScheduleShape.Cosine;

    /// <summary>Warm-up: below 1 a share of all steps, otherwise steps.</summary>
    public double Warmup { get; init; } = 0.03;

    /// <summary>What the loss of a step is the mean of.</summary>
    public LossAverage LossAverage { get; init; } = LossAverage.Tokens;

    /// <summary>Factor on the loss that a run of float16 gradients begins with, a power of two from 1 to 2^40; null: 65536.</summary>
    public long? LossScale { get; init; }

    /// <summary>Optimizer steps between checkpoints; 0: only at the end and when interrupted.</summary>
    public long SaveEvery { get; init; }

    /// <summary>Checkpoints kept, newest first; 0: all.</summary>
    public int Keep { get; init; } = 3;

    /// <summary>Optimizer steps between evaluations; 0: only at the end.</summary>
    public long EvalEvery { get; init; }

    /// <summary>Evaluations without a new lowest loss that end the run; 0: never.</summary>
    public int EarlyStop { get; init; }

    /// <summary>Seed of the order of rows and of all else that is random.</summary>
    public long Seed { get; init; }

    /// <summary>The numbers of an optimizer step.</summary>
    /// <remarks>η is the peak, not the scheduled rate, and the reference's accelerator divides every loss it sees by K: γ/(η·K).</remarks>
    public AdamWOptions ToAdamW() => new()
    {
        Beta1 = Beta1,
        Beta2 = Beta2,
        Epsilon = Epsilon,
        WeightDecay = WeightDecay,
        MaxGradNorm = MaxGradNorm,
        RegularizerStrength = Gamma / (LearningRate * Accumulation),
    };

    /// <summary>The learning rates of a run of so many steps.</summary>
    public LearningRateSchedule ScheduleOf(long totalSteps) => new(Schedule, LearningRate, totalSteps, Warmup);

    /// <summary>Checks every value.</summary>
    /// <returns>The options themselves.</returns>
    /// <exception cref="ConfigException">Some are out of range: the message names all of them.</exception>
    public TrainingOptions Validated()
    {
        var complaints = new List<string>();
        void Check(bool good, string name, object value, string rule)
        {
            if (!good)
                complaints.Add(string.Create(CultureInfo.InvariantCulture, $"{name} is {value}, but must be {rule}"));
        }
        Check(Epochs is > 0 and <= MostEpochs, "--epochs", Epochs, $"above 0 and at most {MostEpochs}");
        Check(MaxSteps is null or >= 1, "--max-steps", MaxSteps ?? 0, "at least 1");
        Check(BatchSize >= 1, "--batch-size", BatchSize, "at least 1");
        Check(Accumulation >= 1, "--accumulation", Accumulation, "at least 1");
        Check(MaxLength >= 2, "--max-length", MaxLength, "at least 2");
        Check(double.IsFinite(LearningRate) && LearningRate > 0, "--lr", LearningRate, "above 0");
        Check(double.IsFinite(Gamma) && Gamma >= 0, "--gamma", Gamma, "at least 0");
        Check(double.IsFinite(WeightDecay) && WeightDecay >= 0, "--weight-decay", WeightDecay, "at least 0");
        Check(Beta1 is >= 0 and < 1, "the first of --betas", Beta1, "from 0 to below 1");
        Check(Beta2 is >= 0 and < 1, "the second of --betas", Beta2, "from 0 to below 1");
        Check(double.IsFinite(Epsilon) && (float)Epsilon > 0, "--eps", Epsilon, "above 0 as a 32-bit float");
        Check(double.IsFinite(MaxGradNorm) && MaxGradNorm >= 0, "--max-grad-norm", MaxGradNorm, "at least 0 (0: no clipping)");
        Check(double.IsFinite(Warmup) && Warmup >= 0 && (Warmup < 1 || Warmup == Math.Floor(Warmup)), "--warmup", Warmup, "a share below 1 or whole steps");
        Check(LossScale is null or (>= 1 and <= LossScaling.Most) && long.IsPow2(LossScale ?? 1), "--loss-scale", LossScale ?? 0, "a power of two from 1 to 2^40");
        Check(SaveEvery >= 0, "--save-every", SaveEvery, "at least 0");
        Check(Keep >= 0, "--keep", Keep, "at least 0");
        Check(EvalEvery >= 0, "--eval-every", EvalEvery, "at least 0");
        Check(EarlyStop >= 0, "--early-stop", EarlyStop, "at least 0");
        return complaints.Count == 0 ? this : throw new ConfigException(string.Join("; ", complaints) + ".");
    }
}
