namespace SorsaOrt.Adapters.Tests;

/// <summary>Matrices to decompose, and plain loops to check products against.</summary>
internal static class Matrices
{
    public static float[] Normal(int count, ulong seed)
    {
        var values = new float[count];
        new Xoshiro256(seed).FillNormal(values);
        return values;
    }

    public static float[] Transpose(float[] matrix, int rows, int columns)
    {
        var result = new float[matrix.Length];
        for (var i = 0; i < rows; i++)
        {
            for (var j = 0; j < columns; j++)
                result[(j * rows) + i] = matrix[(i * columns) + j];
        }
        return result;
    }

    /// <summary>B·diag(S)·A [out, in] in float64.</summary>
    public static double[] Product(SorsaFactors f)
    {
        var result = new double[f.OutFeatures * f.InFeatures];
        for (var i = 0; i < f.OutFeatures; i++)
        {
            for (var p = 0; p < f.Rank; p++)
            {
                var x = (double)f.B[(i * f.Rank) + p] * f.S[p];
                for (var j = 0; j < f.InFeatures; j++)
                    result[(i * f.InFeatures) + j] += x * f.A[(p * f.InFeatures) + j];
            }
        }
        return result;
    }

    /// <summary>U·diag(s)·Vᵀ with random orthonormal U [rows, n], V [columns, n] and the singular values given.</summary>
    public static float[] WithSpectrum(int rows, int columns, double[] s, ulong seed)
    {
        var u = Basis(rows, s.Length, seed);
        var v = Basis(columns, s.Length, seed + 1);
        var result = new float[rows * columns];
        for (var i = 0; i < rows; i++)
        {
            for (var j = 0; j < columns; j++)
            {
                var sum = 0.0;
                for (var p = 0; p < s.Length; p++)
                    sum += u[(i * s.Length) + p] * s[p] * v[(j * s.Length) + p];
                result[(i * columns) + j] = (float)sum;
            }
        }
        return result;
    }

    public static double LargestDifference(ReadOnlySpan<float> left, ReadOnlySpan<float> right)
    {
        Assert.Equal(left.Length, right.Length);
        var largest = 0.0;
        for (var i = 0; i < left.Length; i++)
            largest = Math.Max(largest, Math.Abs((double)left[i] - right[i]));
        return largest;
    }

    public static double RelativeDistance(IEnumerable<float> values, IEnumerable<float> oracle)
    {
        double difference = 0, norm = 0;
        foreach (var (x, y) in values.Zip(oracle))
        {
            difference += ((double)x - y) * ((double)x - y);
            norm += (double)y * y;
        }
        return Math.Sqrt(difference / norm);
    }

    private static double[] Basis(int rows, int columns, ulong seed)
    {
        var basis = Array.ConvertAll(Normal(rows * columns, seed), x => (double)x);
        LinearAlgebra.Managed.Orthonormalize(basis, rows, columns);
        return basis;
    }
}
